"""l1-sparsity: fine-tune on the retain set with an L1 penalty on the weights.

Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeFloat, schema
from unlearn_ray.methods.base import Task, TrainingMethod, TrainsOn


@register("l1_sparsity")
@schema
class L1Sparsity(TrainingMethod):
    """L = criterion on the retain set + coefficient * ||theta||_1.

    theta are all trainable parameters. In MUC the coefficient is constant. In Jia et al. it decays
    linearly to zero: in epoch e of E, counted from 0, it is coefficient * (1 - e / E).

    Attributes:
        coefficient: weight of the norm, in the first epoch.
        coefficient_schedule: "constant" (MUC) or "linear" (Jia et al.).
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "retain"

    coefficient: NonNegativeFloat = 1e-4
    coefficient_schedule: Literal["constant", "linear"] = "constant"

    recommended: ClassVar[Ranges] = {
        "coefficient": log_uniform(1e-6, 1e-3),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # Appendix A.2.
        "muc": {"epochs": 10, "learning_rate": 0.006, "coefficient": log_uniform(1e-6, 1e-3)},
        # The same appendix, of CLIP.
        "muc_clip": {
            "optimizer": "adamw",
            "epochs": 8,
            "learning_rate": 5e-4,
            "coefficient": log_uniform(1e-9, 1e-4),
        },
    }

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion plus the penalty."""
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        norm = l1_norm(trained)
        return task.family.criterion(model, batch) + batch.scheduled(self._weight_at) * norm

    def _weight_at(self, progress: float) -> float:
        if self.coefficient_schedule == "constant":
            return self.coefficient
        # Rounding must not assign an epoch's first iteration to the previous epoch.
        epoch = math.floor(progress * self.epochs + 1e-6)
        return self.coefficient * (1 - epoch / self.epochs)


def l1_norm(weights: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The sum of absolute values of all tensors together, at least one, with gradients.

    In a few operations for all of them, forwards and backwards.
    """
    return cast(Tensor, _L1Norm.apply(*weights))  # type: ignore[no-untyped-call]


class _L1Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)
        return torch.stack(torch._foreach_norm(weights, 1)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        signs = torch._foreach_sign(ctx.saved_tensors)
        torch._foreach_mul_(signs, gradient)
        return tuple(signs)
