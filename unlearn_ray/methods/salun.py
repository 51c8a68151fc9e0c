"""SalUn: random labels, but only the weights that are salient for the forget set are trained.

Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency", ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn_ray.core.collective import average
from unlearn_ray.core.ranges import Ranges, log_uniform, uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.methods.base import Phase, Task
from unlearn_ray.methods.random_label import RandomLabel, RandomLabels
from unlearn_ray.methods.shared import flattened, summed_gradients, trained


@register("salun")
@schema
class SalUn(RandomLabel):
    """Random labels (L of `random_label`), but only salient weights change.

    Salient is the share `ratio` of all weights, biases included, whose gradient of the forget
    set's cross-entropy is largest in absolute value: for the original, in eval mode, summed over
    batch means, as in the authors' code.

    The other weights keep their values, bit for bit: they are restored after every update. With
    masked gradients only, as in the authors' code until 2026, momentum and weight decay still
    change them. Batch norm's running statistics are not weights, and do change.

    Attributes:
        ratio: share of the weights that are salient; 1 is `random_label`.
    """

    ratio: UnitInterval = 0.5

    recommended: ClassVar[Ranges] = {
        "ratio": uniform(0.1, 0.9),
        "learning_rate": log_uniform(1e-3, 0.1),
    }

    def prepare(self, model: nn.Module, task: Task) -> RandomLabels:
        """The random labels, the original weights, and the mask of salient ones."""
        gradients = summed_gradients(model, task.samples.blocks("forget", size=self.batch_size))
        # Worker 0's, since sums differ by rounding and all workers must agree on the mask.
        average(list(gradients.values()))
        scores = flattened(gradients[name] for name, _ in trained(model)).abs()
        order = scores.argsort(descending=True, stable=True)
        salient = torch.zeros_like(scores, dtype=torch.bool)
        salient[order[: int(self.ratio * len(order))]] = True
        return _Salient(super().prepare(model, task).labels, salient, model)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Those of `random_label`, with the other weights restored after every update."""
        put_back = partial(task.state_of(_Salient).put_back, model)
        return [replace(phase, after_update=put_back) for phase in super().phases(model, task)]


class _Salient(RandomLabels):
    salient: Tensor
    original: Tensor

    def __init__(self, labels: Tensor, salient: Tensor, model: nn.Module) -> None:
        super().__init__(labels)
        self.register_buffer("salient", salient)
        self.register_buffer("original", flattened(w.detach() for _, w in trained(model)))

    @torch.no_grad()
    def put_back(self, model: nn.Module) -> None:
        weights = [weight for _, weight in trained(model)]
        sizes = [weight.numel() for weight in weights]
        salient = self.salient.split_with_sizes(sizes)
        original = self.original.split_with_sizes(sizes)
        for weight, moves, before in zip(weights, salient, original, strict=True):
            weight.copy_(torch.where(moves.view_as(weight), weight, before.view_as(weight)))
