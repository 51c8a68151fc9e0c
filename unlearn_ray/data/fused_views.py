"""Where views are rendered in one launch, and the operator that does it.

`view_kernel` needs Triton, which comes with PyTorch's builds for GPUs, and a C compiler for it; on
a CPU, and on a GPU without them, views are rendered by PyTorch's own operations.
"""

from __future__ import annotations

import logging
import subprocess
from functools import cache

import torch
from torch import Tensor

from unlearn_ray.data.view_parameters import ViewParameters

_log = logging.getLogger(__name__)


def can_fuse(images: Tensor) -> bool:
    """Whether views of these images are rendered in one launch."""
    return images.device.type == "cuda" and _has_triton()


@cache
def _has_triton() -> bool:
    try:
        from triton import knobs
        from triton.runtime import driver

        # Only here Triton compiles, in C, what launches its kernels.
        return bool(knobs.runtime.interpret) or driver.active.get_current_device() is not None
    except (
        ImportError,
        RuntimeError,
        OSError,
        AssertionError,
        subprocess.SubprocessError,
    ) as error:
        _log.warning(
            "Triton cannot render views on this GPU, so that they take some 200 launches each "
            "instead of one: %s; install it, a C compiler and Python's headers",
            error,
        )
        return False


def fused_views(
    images: Tensor,
    parameters: ViewParameters,
    *,
    ids: Tensor | None = None,
    rows: Tensor | None = None,
    padding: int = 0,
    scale: list[float],
    offset: list[float],
    dtype: torch.dtype,
) -> Tensor:
    """`view_kernel.render`: (n, 3, H, W), channels_last."""
    drawn = parameters
    views: Tensor = _operator(
        images, ids, rows, drawn.angle, drawn.crop, drawn.shift, drawn.flip, drawn.jitter,
        drawn.factors, drawn.order, drawn.gray, drawn.count, drawn.operations, padding, scale,
        offset, dtype,
    )  # fmt: skip
    return views.permute(0, 3, 1, 2)


# An operator of its own, so that profilers and compilers see one. On a CPU it needs Triton's
# interpreter.
@torch.library.custom_op("unlearn_ray::fused_views", mutates_args=())
def _operator(
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
    from unlearn_ray.data.view_kernel import render

    number = count if rows is None else len(rows)
    views = images.new_empty((number, *images.shape[1:]), dtype=dtype)
    if number:
        drawn = ViewParameters(
            count, tuple(operations), angle, crop, shift, flip, jitter, factors, order, gray
        )
        with torch.cuda.device(images.get_device()):
            render(
                images, drawn, views, ids=ids, rows=rows, padding=padding, scale=scale,
                offset=offset,
            )  # fmt: skip
    return views
