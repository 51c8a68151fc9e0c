"""Render views: schedule the operations of each image of a batch, and run them.

Images differ in the position of hue among their colour operations. On the CPU they are sorted by
it and processed in groups, so that each group runs only the operations that it needs. On a GPU
without Triton (`fused_views`) all images are processed at once, with neutral operations for those
that need none, so that nothing synchronises with the device; either way hue, the costliest, is
computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from unlearn_ray.data.colour import Blends, luma, shift_hue
from unlearn_ray.data.resampling import Taps, resample, resized, shifted
from unlearn_ray.data.view_parameters import CONTRAST, HUE, SATURATION, ViewParameters

# Pixels of a group: few enough for the CPU cache, many enough to amortise the calls.
_GROUP_PIXELS = 128 * 1024


@dataclass(frozen=True)
class Work:
    """The operations on some images, in this order; None is skipped.

    Attributes:
        rows, columns: crop, shift and flip.
        before: the blends before hue.
        hue: its shift.
        after: the blends after hue.
        gray: which images become gray.
    """

    rows: Taps | None
    columns: Taps | None
    before: Blends | None
    hue: Float[Tensor, "n 1"] | None
    after: Blends | None
    gray: Bool[Tensor, " n"] | slice | None


def work_at_once(parameters: ViewParameters, size: int) -> Work:
    """The operations on all images together, without synchronising with the device."""
    rows, columns = _geometry(parameters, size)
    before = hue = after = None
    if parameters.jitter is not None and parameters.order is not None:
        position = _hue_position(parameters.order)
        place = torch.arange(parameters.order.shape[1], device=position.device)
        jitter, position = parameters.jitter[:, None], position[:, None]
        every = slice(None)
        before = _blends(parameters, jitter & (place < position)).part(slice(0, 3), every)
        if HUE in parameters.operations:
            after = _blends(parameters, jitter & (place > position)).part(slice(1, None), every)
        if HUE in parameters.operations and parameters.factors is not None:
            hue = torch.where(jitter, parameters.factors[:, HUE:], 0)
    return Work(rows, columns, before, hue, after, parameters.gray)


def work_in_groups(
    parameters: ViewParameters, size: int
) -> tuple[Tensor | None, Iterator[tuple[slice, Work]]]:
    """The operations on the images on the CPU, group by group.

    Returns:
        The order in which the images are processed (None: as they are), and the groups as slices
        of that order.
    """
    kind = torch.full((parameters.count,), -1)
    if parameters.jitter is not None and parameters.order is not None:
        kind = torch.where(parameters.jitter, _hue_position(parameters.order), -1)
    if parameters.gray is None and parameters.jitter is None:
        return None, _groups(parameters, kind, size)
    # Within a group the gray images come last.
    key = kind * 2 if parameters.gray is None else kind * 2 + parameters.gray
    order = key.argsort(stable=True)
    return order, _groups(parameters.rows(order), kind[order], size)


def _groups(parameters: ViewParameters, kind: Tensor, size: int) -> Iterator[tuple[slice, Work]]:
    rows, columns = _geometry(parameters, size)
    blends = None if parameters.jitter is None else _blends(parameters, None)
    start = 0
    for position, count in enumerate((kind + 1).bincount().tolist(), -1):
        for length in _lengths(count, size * size):
            images = slice(start, start + length)
            start += length
            before = hue = after = None
            if blends is not None and parameters.factors is not None and position >= 0:
                before = blends.part(slice(0, position), images)
                if HUE in parameters.operations:
                    hue = parameters.factors[images, HUE:]
                after = blends.part(slice(position + 1, None), images)
            gray = None
            if parameters.gray is not None:
                gray = slice(length - int(parameters.gray[images].sum()), None)
            taps = [None if axis is None else axis.part(images) for axis in (rows, columns)]
            yield images, Work(taps[0], taps[1], before, hue, after, gray)


def _lengths(count: int, pixels: int) -> list[int]:
    groups = -(-count * pixels // _GROUP_PIXELS)
    return [count * (n + 1) // groups - count * n // groups for n in range(min(groups, count))]


def _geometry(parameters: ViewParameters, size: int) -> tuple[Taps | None, Taps | None]:
    rows = columns = None
    if parameters.crop is not None:
        top, left, height, width = parameters.crop.unbind(dim=1)
        rows, columns = resized(top, height, size), resized(left, width, size)
    elif parameters.shift is not None:
        top, left = parameters.shift.unbind(dim=1)
        rows, columns = shifted(top, size), shifted(left, size)
    if parameters.flip is not None:
        if columns is None:
            columns = shifted(torch.zeros_like(parameters.flip, dtype=torch.int64), size)
        columns = columns.reversed_where(parameters.flip)
    return rows, columns


def _blends(parameters: ViewParameters, wanted: Tensor | None) -> Blends:
    """The blends in each image's order; neutral where `wanted` is False."""
    assert parameters.order is not None
    assert parameters.factors is not None
    keep = parameters.factors.gather(1, parameters.order)
    if wanted is not None:
        keep = torch.where(wanted, keep, 1)
    gray, mean = (
        (1 - keep) * (parameters.order == kind) if kind in parameters.operations else None
        for kind in (SATURATION, CONTRAST)
    )
    by_operation = (
        None if share is None else share.t().unsqueeze(2).contiguous()
        for share in (keep, gray, mean)
    )
    return Blends(*by_operation)  # type: ignore[arg-type]


def _hue_position(order: Tensor) -> Tensor:
    """Position of hue in each image's order; past the last one if there is no hue."""
    return (functional.pad(order, (0, 1), value=HUE) == HUE).to(torch.uint8).argmax(dim=1)


def render(
    images: UInt8[Tensor, "n height width 3"],
    work: Work,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    out: Float[Tensor, "n size size 3"],
) -> None:
    """Write the views of some images to `out`, normalised."""
    planes = resample(images, work.rows, work.columns)
    _, count, width, height = planes.shape
    planes = planes.view(3, count, -1)
    if work.before is not None:
        work.before.apply(planes)
    if work.hue is not None:
        shift_hue(planes, work.hue)
    if work.after is not None:
        work.after.apply(planes)
    if isinstance(work.gray, slice):
        planes[:, work.gray] = luma(planes[:, work.gray])
    elif work.gray is not None:
        planes = torch.where(work.gray[:, None], luma(planes), planes)
    scale, offset = scale_and_offset(mean, std)
    for plane, factor, summand in zip(planes, scale, offset, strict=True):
        plane.mul_(factor).add_(summand)
    out.copy_(planes.view(3, count, width, height).permute(1, 3, 2, 0))


def scale_and_offset(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> tuple[list[float], list[float]]:
    """(x - mean) / std as x * scale + offset, for each channel."""
    return [1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
