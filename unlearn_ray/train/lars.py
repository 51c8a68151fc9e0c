"""LARS: layer-wise updates in proportion to the norm of the weights.

You et al., "Large Batch Training of Convolutional Networks", 2017 (1708.03888).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class LARS(torch.optim.Optimizer):
    """SGD with momentum, and a local learning rate for each matrix or convolution.

    With w a layer's weights, g their gradient, b the weight decay and m the momentum,

        u = (g + b w) t,    t = trust ||w|| / (||g|| + b ||w||),
        v = m v + u,        w = w - lr v.

    Clipped (LARC), t is min(1, t / lr): the learning rate then bounds the local rates.

    As in public BYOL codes, the learning rate is applied outside the momentum, and biases and
    batch norm (all one-dimensional parameters) are neither scaled nor decayed. A layer whose
    weights or gradient are all 0 is not scaled.

    Args:
        parameters: to optimise.
        lr: the learning rate.
        momentum: m.
        weight_decay: b.
        trust: the trust coefficient; 0.001 in the paper.
        clip: whether local rates are clipped.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        trust: float = 0.001,
        clip: bool = False,
    ) -> None:
        of_all = {"lr": lr, "momentum": momentum, "decay": weight_decay}
        super().__init__(parameters, {**of_all, "trust": trust, "clip": clip})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        update = gradient if weight.dim() < 2 else scaled(weight, gradient, group)
        state = self.state[weight]
        if "velocity" in state:
            state["velocity"].mul_(group["momentum"]).add_(update)
        else:
            state["velocity"] = update.clone()
        weight.sub_(state["velocity"], alpha=group["lr"])


def scaled(weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """The decayed gradient of a layer times its local rate, without synchronising with a GPU."""
    length, slope = weight.norm(), gradient.norm()
    decay: float = group["decay"]
    trust = group["trust"] * length / (slope + decay * length)
    if group["clip"]:
        trust = (trust / group["lr"]).clamp(max=1)
    trust = torch.where((length > 0) & (slope > 0), trust, 1.0)
    return (gradient + decay * weight) * trust
