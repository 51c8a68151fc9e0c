"""Computations that families do in full precision, even under autocast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# As in torch's `normalize`.
TINY = 1e-12


def full_precision(tensor: Tensor) -> torch.autocast:
    """Disable autocast on the device of `tensor`: exp(s) overflows half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def unit_rows(features: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """L2-normalised rows, at least in float32.

    A row of norm TINY or less has no direction: it becomes 0 and gets no gradient, whereas
    torch's `normalize` multiplies the gradient by 1 / TINY.
    """
    rows = precise(features)
    with torch.no_grad():
        short = torch.linalg.vector_norm(rows, dim=-1, keepdim=True) <= TINY
    # Replaced before the norm, whose second derivative at 0 is NaN.
    filled = rows.masked_fill(short, 1.0)
    lengths: Tensor = torch.linalg.vector_norm(filled, dim=-1, keepdim=True)
    return (filled / lengths).masked_fill_(short, 0.0)


def crossed_cosines(
    predicted: Sequence[Float[Tensor, "n d"]], targets: Sequence[Float[Tensor, "n d"]]
) -> Float[Tensor, " n"]:
    """Cosine of every image's first prediction with its second target, plus that of its second
    prediction with its first target."""
    with full_precision(predicted[0]):
        products = [
            unit_rows(prediction) * unit_rows(target)
            for prediction, target in zip(predicted, reversed(targets), strict=True)
        ]
        return (products[0] + products[1]).sum(dim=1)


def precise(tensor: Tensor) -> Tensor:
    """The tensor at least in float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
