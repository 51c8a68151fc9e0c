"""What stands in for the kernel that renders views: Triton's interpreter would take minutes.

`tests/data/test_view_kernel.py` holds the kernel itself to the same code for the CPU.
"""

from __future__ import annotations

from torch import Tensor

from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.view_parameters import ViewParameters


def render(
    images: Tensor,
    parameters: ViewParameters,
    views: Tensor,
    *,
    ids: Tensor | None,
    rows: Tensor | None,
    padding: int,
    scale: list[float],
    offset: list[float],
) -> None:
    """`view_kernel.render` of tensors on the CPU."""
    chosen = images if ids is None else images[ids]
    if rows is not None:
        chosen, parameters = chosen[rows], parameters.rows(rows)
    red, green, blue = ((-o / s, 1 / s) for o, s in zip(offset, scale, strict=True))
    mean, std = zip(red, green, blue, strict=True)
    rendered = Augmentation(padding=padding, mean=mean, std=std).apply(chosen, parameters)
    views.copy_(rendered.permute(0, 2, 3, 1))
