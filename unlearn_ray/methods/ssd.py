"""Selective Synaptic Dampening: shrink weights that matter more to the forget set than overall.

Foster et al., "Fast Machine Unlearning without Retraining through Selective Synaptic Dampening",
AAAI 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn_ray.core.ranges import Grid, Ranges, grid, log_uniform, uniform
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeFloat, PositiveInt, schema
from unlearn_ray.methods.base import PartName, Task
from unlearn_ray.methods.shared import OneShot, summed_gradients, trained


@register("ssd")
@schema
class SSD(OneShot):
    """Where I_f > alpha * I: w times min(dampening * I / I_f, 1); other weights do not change.

    I and I_f are the importances of a weight for the whole training set and for the forget set:
    the mean over batches of the squared gradient of the batch's mean cross-entropy. They depend
    on the batch size. I is the average of both sets' importances, weighted by their sizes.

    It costs one forward and backward pass over both sets, or over the first `samples` of each.
    I_f / I is at most n / n_f, the training set's size over the forget set's: a larger alpha has
    no effect, so the published 10 (5 for whole classes and ViT) is for small forget sets, and so is
    more than the recommended range.

    Attributes:
        alpha: how many times more important to the forget set a weight must be.
        dampening: the paper's lambda.
        samples: of each set, the first in the seed's permuted order; null: all.
    """

    # Above the inverse of the forget set's share, no weight is dampened.
    tiny: ClassVar[Fields] = {"alpha": 1.0}
    idle: ClassVar[Fields | None] = {"alpha": 1e30, "samples": 64}

    batch_size: PositiveInt = 64
    alpha: NonNegativeFloat = 10.0
    dampening: NonNegativeFloat = 1.0
    samples: PositiveInt | None = None

    recommended: ClassVar[Ranges] = {
        "alpha": log_uniform(1, 10),
        "dampening": uniform(0.1, 1),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        "paper": {"alpha": grid(5, 10)},
    }

    def finish(self, model: nn.Module, task: Task) -> None:
        """Shrink the weights."""
        retain, forget = (self._importance(model, task, part) for part in ("retain", "forget"))
        share = task.forget_size / (task.forget_size + task.retain_size)
        for name, weight in trained(model):
            whole = (1 - share) * retain[name] + share * forget[name]
            chosen = forget[name] > self.alpha * whole
            factor = (self.dampening * whole / forget[name]).clamp(max=1)
            with torch.no_grad():
                weight.copy_(torch.where(chosen, weight * factor, weight))

    def _importance(self, model: nn.Module, task: Task, part: PartName) -> dict[str, Tensor]:
        size = task.samples.size(part)
        count = math.ceil(min(self.samples or size, size) / self.batch_size)
        blocks = task.samples.blocks(part, self.batch_size, self.samples)
        sums = summed_gradients(model, blocks, power=2)
        return {name: value / count for name, value in sums.items()}
