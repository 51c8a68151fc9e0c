"""Momentum (EMA) copies of a network (MoCo's key encoder, BYOL's target) and queues."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def slow_copy(network: nn.Module) -> nn.Module:
    """A copy that gets no gradients."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, network: nn.Module, momentum: float | Float[Tensor, ""]) -> None:
    """Update the copy's weights: slow = momentum * slow + (1 - momentum) * network.

    The copy keeps its own running statistics of batch norm. On the device, momentum is a tensor.
    """
    slows: list[Tensor] = list(slow.parameters())
    weights: list[Tensor] = list(network.parameters())
    if isinstance(momentum, Tensor):
        apart = torch._foreach_sub(weights, slows)
        torch._foreach_mul_(apart, 1 - momentum)
        torch._foreach_add_(slows, apart)
        return
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move(slows, weights, 0)


@torch.no_grad()
def enqueue(pointer: Tensor, *queues: tuple[Tensor, Tensor]) -> None:
    """Overwrite a ring buffer's oldest rows; if there are more rows than places, the last stay.

    Args:
        pointer: position of the oldest row; advanced in place.
        queues: parallel queues of the same samples, each with its new rows.
    """
    size, count = (len(each) for each in queues[0])
    places = ((torch.arange(count, device=pointer.device) + pointer) % size)[-size:]
    for queue, rows in queues:
        queue.index_copy_(0, places, rows[-size:].to(queue.dtype))
    pointer.add_(count).remainder_(size)
