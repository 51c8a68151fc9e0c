"""Residual knowledge: whether a model still knows forget images in a small ball around them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.metrics.ratio import ratio_of
from unlearn_ray.quantities.perturbed_predictions import PerturbedPredictions


@register("residual_knowledge")
@schema
class ResidualKnowledge(Metric):
    """P[model right] / P[retrained model right] on forget images x + d, |d|_inf <= epsilon.

    Hsu et al., "The Unseen Threat: Residual Knowledge in Machine Unlearning under Perturbed
    Samples", NeurIPS 2025 (2601.22359). Above 1, the model knows more of the neighbourhood of
    forget samples than retraining leaves.

    - The probabilities are over all samples and draws together; a ratio per sample is undefined
      wherever the retrained model is never right.
    - Both models see the same random perturbations; the paper also searches for adversarial ones.
    - The ratio is 1 if both are right equally often. If the retrained model alone is never right,
      as after forgetting whole classes it may be, the ratio is taken over one right prediction: a
      lower bound, at most samples x draws, and never infinite. Then read the second column, the
      percentage itself.

    Attributes:
        epsilon: radius of the ball, in levels of 8 bits (1/255 of the range of a pixel).
        draws: random perturbations of each sample.
        samples: at most this many, the first of the forget set.
    """

    columns: ClassVar[dict[str, str]] = {
        "residual_knowledge": "Residual knowledge",
        "perturbed_forget_accuracy": "Perturbed UA",
    }
    needs_classes: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"draws": 2}

    epsilon: Annotated[int, Field(ge=0, le=255)] = 8
    draws: Annotated[int, Field(ge=1, le=1000)] = 10
    samples: PositiveInt = 5_000

    @property
    def _predictions(self) -> PerturbedPredictions:
        return PerturbedPredictions(epsilon=self.epsilon, draws=self.draws, samples=self.samples)

    def needs(self) -> Needs:
        """Predictions of both models for the same perturbed images."""
        return Needs(model=(self._predictions,), retrained=(self._predictions,))

    def measure(self, model: Observed) -> Measurement:
        """The ratio, and the percentage of right predictions.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        own, other = (each.values(self._predictions, "forget") for each in (model, model.retrained))
        labels = model.labels("forget")[: len(own), None]
        right, reference = (int((each == labels).sum()) for each in (own, other))
        return Measurement(
            {
                "residual_knowledge": ratio_of(right, reference),
                "perturbed_forget_accuracy": 100 * right / own.numel(),
            }
        )
