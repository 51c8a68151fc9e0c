"""Heads of families without negatives."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def hidden_layers(*sizes: int) -> list[nn.Module]:
    """Linear layers from each size to the next, each followed by batch norm and ReLU."""
    return [
        layer
        for before, after in pairwise(sizes)
        for layer in (
            # Batch norm's shift replaces the bias.
            nn.Linear(before, after, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(inplace=True),
        )
    ]
