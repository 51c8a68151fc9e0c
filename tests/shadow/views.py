"""What stands in for the kernel that renders views: Triton's interpreter would take minutes.

`tests/data/test_view_kernel.py` holds the kernel itself to the same code for the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import torch


def rendered(
    images: Tensor,
    ids: Tensor | None,
    rows: Tensor | None,
    angle: Tensor | None,
    crop: Tensor | None,
    shift: Tensor | None,
    flip: Tensor | None,
    jitter: Tensor | None,
    factors: Tensor | None,
    order: Tensor | None,
    gray: Tensor | None,
    count: int,
    operations: list[int],
    padding: int,
    scale: list[float],
    offset: list[float],
    dtype: torch.dtype,
) -> Tensor:
    """Views of tensors on the CPU, (n, H, W, 3): the operator `unlearn_ray::fused_views`."""
    from unlearn_ray.data.augmentation import Augmentation
    from unlearn_ray.data.view_parameters import ViewParameters

    drawn = ViewParameters(
        count, tuple(operations), angle, crop, shift, flip, jitter, factors, order, gray
    )
    chosen = images if ids is None else images[ids]
    if rows is not None:
        chosen, drawn = chosen[rows], drawn.rows(rows)
    red, green, blue = ((-o / s, 1 / s) for o, s in zip(offset, scale, strict=True))
    mean, std = zip(red, green, blue, strict=True)
    views = Augmentation(padding=padding, mean=mean, std=std).apply(chosen, drawn)
    return views.permute(0, 2, 3, 1).to(dtype).contiguous()
