"""NegGrad: descend on the retain set while ascending on the forget set.

Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023, weigh the two means
(b * retain - (1 - b) * forget, over a batch of each). This is the form of MUC's code: batches
of the whole training set, in which every anchor counts once with its sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.methods.base import Task, TrainingMethod


@register("neggrad")
@schema
class NegGrad(TrainingMethod):
    """L = (sum over retain anchors - sum over forget anchors) / A, for the batch's A anchors.

    In MUC's SimCLR code the signs are in another order than the anchors; here each anchor has its
    own image's sign.
    """

    revision: ClassVar[int] = 2
    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-3, 0.1),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Appendix A.2.
        "muc": {"epochs": 10, "learning_rate": log_uniform(0.003, 0.03)},
        # The same appendix, of CLIP.
        "muc_clip": {"optimizer": "adamw", "epochs": 8, "learning_rate": log_uniform(1e-5, 1e-4)},
    }

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The signed mean over anchors."""
        anchors = task.family.anchor_losses(model, batch)
        return torch.where(anchors.is_forget, -anchors.loss, anchors.loss).mean()
