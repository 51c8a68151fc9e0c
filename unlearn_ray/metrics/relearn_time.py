"""Relearn time: how soon fine-tuning on the forget set restores the original's loss."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveFloat, PositiveInt, UnitInterval, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed
from unlearn_ray.metrics.ratio import ratio_of
from unlearn_ray.quantities.relearning import Relearning

# The original's own loss is computed in other batches, and may round otherwise.
TOLERANCE = 1e-4


@register("relearn_time")
@schema
class RelearnTime(Metric):
    """Updates of fine-tuning until the forget loss is the original's, also over the retrained's.

    As in Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020: a model that has
    forgotten needs as long as the retrained one; below 1, the second column says that something is
    left. The loss is the cross-entropy on the first forget samples; it counts as the original's
    from 1.0001 times that (plus 1e-6) down.

    - Times are censored: a model that does not get there within `updates` has the time `updates`.
    - The ratio is 1 if both times are equal, and is taken over one update if the retrained model
      needs none.
    - Encoders are fine-tuned together with their linear probe; see the quantity `relearning`. The
      losses of both models, and the original's, are arrays.

    Attributes:
        updates: the cap.
        samples: the loss is that of at most this many samples, the first of the forget set.
        batch_size: samples per update.
        learning_rate, momentum: of SGD.
    """

    columns: ClassVar[dict[str, str]] = {
        "relearn_time": "Relearn time",
        "relearn_time_ratio": "Relearn ratio",
    }
    needs_classes: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"updates": 3}

    updates: Annotated[int, Field(ge=1, le=100_000)] = 100
    samples: PositiveInt = 512
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 0.01
    momentum: UnitInterval = 0.9

    @property
    def _relearning(self) -> Relearning:
        return Relearning(
            updates=self.updates,
            samples=self.samples,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
        )

    def needs(self) -> Needs:
        """The losses of both models while they relearn, and the original's outputs."""
        relearning = (self._relearning,)
        return Needs(model=relearning, original=(OUTPUTS,), retrained=relearning)

    def measure(self, model: Observed) -> Measurement:
        """The number of updates, and its ratio to the retrained model's.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        truth = model.labels("forget")[: self.samples]
        outputs = model.original.probabilities("forget")[: self.samples].double()
        wanted = functional.nll_loss(outputs.clamp_min(torch.finfo().tiny).log(), truth)
        own, other = (
            each.observation(self._relearning).arrays["losses"] for each in (model, model.retrained)
        )
        time, reference = (time_to(each, float(wanted)) for each in (own, other))
        return Measurement(
            {"relearn_time": float(time), "relearn_time_ratio": ratio_of(time, reference)},
            {"losses": own, "retrained_losses": other, "original_loss": wanted},
        )


def time_to(losses: Float64[Tensor, " updates_and_one"], wanted: float) -> int:
    """The first update after which the loss is `wanted`, or else the last."""
    (reached,) = torch.nonzero(losses <= wanted * (1 + TOLERANCE) + 1e-6, as_tuple=True)
    return int(reached[0]) if len(reached) else len(losses) - 1
