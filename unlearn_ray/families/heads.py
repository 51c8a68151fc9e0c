"""Heads: networks on top of a backbone."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Head(nn.Sequential):
    """Layers, one after the other.

    A class of its own, since PyTorch compiles no module whose `forward` is one of its own.
    """

    def forward(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n out"]:
        """The last layer's output."""
        for layer in self:
            rows = layer(rows)
        return rows


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
