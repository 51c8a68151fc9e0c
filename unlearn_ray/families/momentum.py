"""A slow copy of a network (MoCo's key encoder, BYOL's target) and a queue of what it made."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def slow_copy(network: nn.Module) -> nn.Module:
    """A copy that no gradient reaches."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move the copy's weights: slow = momentum * slow + (1 - momentum) * network.

    Batch norm's running statistics are the copy's own.
    """
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move(list(slow.parameters()), list(network.parameters()), 0)


@torch.no_grad()
def enqueue(pointer: Tensor, *queues: tuple[Tensor, Tensor]) -> None:
    """Write rows over a queue's oldest; of more rows than places, the last stay.

    Args:
        pointer: the place of the oldest row; moved on.
        queues: with their new rows, of what is kept of the same samples.
    """
    size, count = (len(each) for each in queues[0])
    places = ((torch.arange(count, device=pointer.device) + pointer) % size)[-size:]
    for queue, rows in queues:
        queue.index_copy_(0, places, rows[-size:].to(queue.dtype))
    pointer.add_(count).remainder_(size)
