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
        lr: the learning rate; a tensor may change while a CUDA graph replays the update.
        momentum: m.
        weight_decay: b.
        trust: the trust coefficient; 0.001 in the paper.
        clip: whether local rates are clipped.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float | Tensor,
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
            weights, gradients = _with_gradients(group["params"])
            if weights:
                updates = _updates(weights, gradients, group)
                velocities = self._velocities(weights, updates, group["momentum"])
                if isinstance(group["lr"], Tensor):
                    torch._foreach_sub_(weights, torch._foreach_mul(velocities, group["lr"]))
                else:
                    torch._foreach_sub_(weights, velocities, alpha=group["lr"])

    def _velocities(
        self, weights: list[Tensor], updates: list[Tensor], momentum: float
    ) -> list[Tensor]:
        """Advance every velocity by its update; the first update is the velocity itself."""
        states = [self.state[weight] for weight in weights]
        moving = [number for number, state in enumerate(states) if "velocity" in state]
        if moving:
            velocities = [states[number]["velocity"] for number in moving]
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, [updates[number] for number in moving])
        for state, update in zip(states, updates, strict=True):
            if "velocity" not in state:
                state["velocity"] = update.clone()
        return [state["velocity"] for state in states]


def _with_gradients(parameters: list[nn.Parameter]) -> tuple[list[Tensor], list[Tensor]]:
    weights: list[Tensor] = []
    gradients: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            weights.append(parameter)
            gradients.append(parameter.grad)
    return weights, gradients


def _updates(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """u of every parameter."""
    updates = list(gradients)
    matrices = [number for number, weight in enumerate(weights) if weight.dim() > 1]
    if matrices:
        of_matrices = _scaled(
            [weights[number] for number in matrices],
            [gradients[number] for number in matrices],
            group,
        )
        for number, update in zip(matrices, of_matrices, strict=True):
            updates[number] = update
    return updates


def _scaled(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """The decayed gradients of layers times their local rates, without synchronising with a GPU."""
    lengths, slopes = (torch.stack(torch._foreach_norm(each)) for each in (weights, gradients))
    decay: float = group["decay"]
    trust = group["trust"] * lengths / (slopes + decay * lengths)
    if group["clip"]:
        trust = (trust / group["lr"]).clamp(max=1)
    trust = torch.where((lengths > 0) & (slopes > 0), trust, 1.0)
    decayed = torch._foreach_mul(weights, decay)
    # Not one addition with `alpha`, which may round once instead of twice.
    torch._foreach_add_(decayed, gradients)
    torch._foreach_mul_(decayed, trust.unbind())
    return list(decayed)
