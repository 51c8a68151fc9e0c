"""A slow copy of a network: MoCo's key encoder, BYOL's target."""

from __future__ import annotations

import copy

import torch
from torch import nn
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
