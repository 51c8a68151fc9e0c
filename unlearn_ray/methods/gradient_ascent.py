"""Gradient ascent: maximise the criterion on the forget set.

Golatkar et al., CVPR 2020; Thudi et al., "Unrolling SGD", EuroS&P 2022; in MUC's adaptation
with the contrastive criterion (section 3.2).
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, schema
from unlearn_ray.methods.base import Task, TrainingMethod, TrainsOn


@register("gradient_ascent")
@schema
class GradientAscent(TrainingMethod):
    """L = -criterion on the forget set.

    The loss is unbounded, so take few `epochs` and a small `learning_rate`: MUC (appendix A.2)
    takes 5 epochs and searches [1e-6, 1e-4].
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "forget"

    epochs: NonNegativeInt = 5
    learning_rate: PositiveFloat = 1e-4

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion, negated."""
        return -task.family.criterion(model, batch)
