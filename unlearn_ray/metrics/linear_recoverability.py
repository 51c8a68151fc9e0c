"""Linear recoverability: whether frozen features still separate the forgotten classes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeInt, PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.block_predictions import BlockPredictions


@register("linear_recoverability")
@schema
class LinearRecoverability(Metric):
    """Forget accuracy of linear probes of frozen blocks, less that of the retrained model's blocks.

    Gao et al., "An Illusion of Unlearning?", 2604.08271, and 2503.06991: the features of unlearned
    models often separate what the classifier no longer names. The probe of each block is trained on
    retain samples and a few forget samples, and tested on the other forget samples. The columns are
    the mean over blocks, and the last block, the backbone's features, in percentage points: above 0
    if the model's features tell more than the retrained model's. Arrays: the accuracy of every
    block for both models, in percent.

    Attributes:
        samples: at most this many retain samples, and as many forget samples.
        shots: forget samples that probes are trained on, at most half of the forget set.
        epochs: of the training of each probe.
    """

    columns: ClassVar[dict[str, str]] = {
        "linear_recoverability": "Recoverability",
        "linear_recoverability_last": "Recoverability, last",
    }
    needs_classes: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"epochs": 2}

    samples: PositiveInt = 5_000
    shots: NonNegativeInt = 100
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 100

    @property
    def _predictions(self) -> BlockPredictions:
        return BlockPredictions(samples=self.samples, shots=self.shots, epochs=self.epochs)

    def needs(self) -> Needs:
        """What probes of both models predict."""
        return Needs(model=(self._predictions,), retrained=(self._predictions,))

    def measure(self, model: Observed) -> Measurement:
        """The differences, and both models' accuracies.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        own, other = (self._accuracies(each) for each in (model, model.retrained))
        apart = own - other
        return Measurement(
            {
                "linear_recoverability": float(apart.mean()),
                "linear_recoverability_last": float(apart[-1]),
            },
            {"accuracy": own, "retrained_accuracy": other},
        )

    def _accuracies(self, model: Observed) -> Float64[Tensor, " blocks"]:
        predicted = model.values(self._predictions, "forget")
        shots = self._predictions.shots_of(model.size("forget"))
        labels = model.labels("forget")[: len(predicted), None]
        return 100 * (predicted == labels)[shots:].double().mean(dim=0)
