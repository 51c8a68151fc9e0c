"""What families compute in full precision, whatever autocast does around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# As in torch's `normalize`.
TINY = 1e-12


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the device of `tensor`: exp(s) overflows half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def unit_rows(features: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Rows scaled to length 1, in float32 at least.

    A row of no length, TINY at most, has no direction: it becomes 0 and gets no gradient, where
    torch's `normalize` multiplies the gradient by 1 / TINY.
    """
    rows = precise(features)
    with torch.no_grad():
        short = torch.linalg.vector_norm(rows, dim=-1, keepdim=True) <= TINY
    # Filled before the norm, whose second derivative at 0 is NaN.
    filled = rows.masked_fill(short, 1.0)
    lengths: Tensor = torch.linalg.vector_norm(filled, dim=-1, keepdim=True)
    return (filled / lengths).masked_fill_(short, 0.0)


def crossed_cosines(
    predicted: Sequence[Float[Tensor, "n d"]], targets: Sequence[Float[Tensor, "n d"]]
) -> Float[Tensor, " n"]:
    """Of two views each: cosine of every image's first prediction with its second target, plus
    that of its second prediction with its first target."""
    with full_precision(predicted[0]):
        products = [
            unit_rows(prediction) * unit_rows(target)
            for prediction, target in zip(predicted, reversed(targets), strict=True)
        ]
        return (products[0] + products[1]).sum(dim=1)


def precise(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
