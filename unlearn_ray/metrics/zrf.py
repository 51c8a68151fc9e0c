"""ZRF: how much a model's outputs on the forget set resemble those of a random model."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed
from unlearn_ray.metrics.divergence import mean_js_divergence
from unlearn_ray.quantities.random_outputs import RandomOutputs

RANDOM = RandomOutputs(part="forget")


@register("zrf")
@schema
class ZRF(Metric):
    """Zero retrain forgetting: 1 - the mean JS divergence from a random model's outputs.

    Chundawat et al., "Can Bad Teaching Induce Forgetting?", AAAI 2023. The divergence is
    in bits, so that the score is in [0, 1]: 1 if the model says of forget samples what a randomly
    initialised one does. More is not better by itself: compare it with the retrained model's, whose
    score is below 1 wherever it recognises forget samples.
    """

    columns: ClassVar[dict[str, str]] = {"zrf": "ZRF"}
    needs_classes: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The model's outputs, and a random model's, which are the same for all models."""
        return Needs(model=(OUTPUTS,), original=(RANDOM,))

    def measure(self, model: Observed) -> Measurement:
        """The mean over the forget set.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        random = model.original.values(RANDOM, "forget").softmax(dim=1)
        return Measurement({"zrf": 1 - mean_js_divergence(model.probabilities("forget"), random)})
