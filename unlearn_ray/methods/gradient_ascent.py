"""Gradient ascent: maximise the criterion on the forget set.

Golatkar et al., CVPR 2020; Thudi et al., "Unrolling SGD", EuroS&P 2022; in MUC's adaptation
with the contrastive criterion (section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, schema
from unlearn_ray.methods.base import Task, TrainingMethod, TrainsOn


@register("gradient_ascent")
@schema
class GradientAscent(TrainingMethod):
    """L = -criterion on the forget set.

    The loss is unbounded, so take few `epochs` and a small `learning_rate`.
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "forget"

    epochs: NonNegativeInt = 5
    learning_rate: PositiveFloat = 1e-4

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-6, 1e-2),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Appendix A.2.
        "muc": {"epochs": 5, "learning_rate": log_uniform(1e-6, 1e-4)},
        # The same appendix, of CLIP.
        "muc_clip": {"optimizer": "adamw", "epochs": 4, "learning_rate": log_uniform(5e-6, 5e-4)},
    }

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion, negated."""
        return -task.family.criterion(model, batch)
