"""How a GPU rounds float32 in matrix products and convolutions.

PyTorch's default is IEEE float32 in matrix products and TF32, with 10 bits of mantissa instead of
23, in convolutions. Here float32 is IEEE float32 in both, except where a block says otherwise:

- training computes in bf16 by autocast, and its similarities in float32;
- sensitivities, Hessians, conjugate gradients and one-shot edits are computed in float32;
- features and outputs that metrics read are extracted in float32;
- the augmented views that a linear probe is trained on are encoded in TF32: they are noisy anyway,
  and 100 times as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def rounds_to_tf32() -> tuple[bool, bool]:
    """Whether matrix products, and convolutions, are computed in TF32 on a GPU now."""
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    return torch.backends.cuda.matmul.fp32_precision == "tf32", conv.fp32_precision == "tf32"


def round_to_tf32(products: bool, convolutions: bool) -> None:
    """Choose TF32 or IEEE float32 for both; changes nothing on a CPU."""
    # `fp32_precision` may not be set instead: what reads `allow_tf32` after it, as PyTorch's
    # compiler does, raises an error.
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def tf32() -> Iterator[None]:
    """Compute in TF32 within the block."""
    before = rounds_to_tf32()
    round_to_tf32(True, True)
    try:
        yield
    finally:
        round_to_tf32(*before)
