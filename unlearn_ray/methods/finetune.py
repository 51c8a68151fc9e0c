"""Fine-tuning: keep training on the retain set only, so that the rest is forgotten.

Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020; in MUC's adaptation with the
contrastive criterion (section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.methods.base import Task, TrainingMethod, TrainsOn


@register("finetune")
@schema
class Finetune(TrainingMethod):
    """L = criterion on the retain set."""

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "retain"
    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-3, 0.1),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Appendix A.2.
        "muc": {"epochs": 10, "learning_rate": log_uniform(0.003, 0.03)},
        # The same appendix, of CLIP.
        "muc_clip": {"optimizer": "adamw", "epochs": 8, "learning_rate": log_uniform(5e-5, 5e-4)},
    }

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion."""
        return task.family.criterion(model, batch)
