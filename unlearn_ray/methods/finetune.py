"""Fine-tuning: keep training on the retain set only, so that the rest is forgotten.

Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020; in MUC's adaptation with the
contrastive criterion (section 3.2).
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.methods.base import Task, TrainingMethod, TrainsOn


@register("finetune")
@schema
class Finetune(TrainingMethod):
    """L = criterion on the retain set.

    MUC (appendix A.2): 10 epochs, learning rate searched in [0.003, 0.03].
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "retain"

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion."""
        return task.family.criterion(model, batch)
