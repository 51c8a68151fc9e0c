"""Views on a GPU in one launch: the operations of `rendering` in one Triton kernel.

A program renders one image, or one tile of an image that is too large for a program. Contrast
needs the mean of its whole image, so that tiles take a second launch, which sums them first.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from unlearn_ray.data import colour, view_parameters
from unlearn_ray.data.view_parameters import ViewParameters

# Pixels of an image that one program renders; a program of a larger image renders a tile.
_WHOLE = 4096
_TILE = 1024
_PIXELS_OF_A_WARP = 256

_CONTRAST = tl.constexpr(view_parameters.CONTRAST)
_SATURATION = tl.constexpr(view_parameters.SATURATION)
_HUE = tl.constexpr(view_parameters.HUE)
_RED, _GREEN, _BLUE = (tl.constexpr(weight) for weight in colour.LUMA)
_TINY = tl.constexpr(colour.TINY)
# Added to a float64 below 2 ** 51 and subtracted again, it leaves the nearest integer, half to
# even, as torch.round does.
_ROUNDING = tl.constexpr(1.5 * 2.0**52)


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
    """Write views[n], (H, W, 3), of images[ids[rows[n]]] with row rows[n] of the parameters.

    Args:
        images: uint8, (N, H, W, 3).
        parameters: on the device of `images`, as are all tensors; contiguous, too.
        views: of any floating dtype, (n, H, W, 3).
        ids, rows: int64; None: each in order.
        padding: of the image that `parameters.shift` refers to.
        scale, offset: of each channel, for normalisation.
    """
    count, height, width, _ = views.shape
    pixels = height * width
    whole = pixels <= _WHOLE
    block = triton.next_power_of_2(pixels) if whole else _TILE
    tiles = 1 if whole else triton.cdiv(pixels, block)
    drawn = parameters
    flip, jitter, gray = (
        None if flag is None else flag.view(torch.uint8)
        for flag in (drawn.flip, drawn.jitter, drawn.gray)
    )
    sums = None
    if tiles > 1 and view_parameters.CONTRAST in drawn.operations:
        sums = views.new_empty((count, tiles), dtype=torch.float32)
    tensors = (
        images, ids, rows, drawn.angle, drawn.crop, drawn.shift, flip, jitter, drawn.factors,
        drawn.order, gray, sums, views,
    )  # fmt: skip
    assert all(part is None or part.is_contiguous() for part in tensors)
    for summing in (True, False) if sums is not None else (False,):
        _render[count, tiles](
            *tensors,
            *scale,
            *offset,
            height=height,
            width=width,
            padding=padding,
            operations=len(drawn.operations),
            block=block,
            tiles=tiles,
            most_tiles=triton.next_power_of_2(tiles),
            summing=summing,
            num_warps=min(max(block // _PIXELS_OF_A_WARP, 1), 16),
            # Rounded after every operation, as on a CPU, a rotation finds the same pixels.
            enable_fp_fusion=False,
        )


@triton.jit
def _render(
    images,
    ids,
    rows,
    angle,
    crop,
    shift,
    flip,
    jitter,
    factors,
    order,
    gray,
    sums,
    views,
    red_scale,
    green_scale,
    blue_scale,
    red_offset,
    green_offset,
    blue_offset,
    height: tl.constexpr,
    width: tl.constexpr,
    padding: tl.constexpr,
    operations: tl.constexpr,
    block: tl.constexpr,
    tiles: tl.constexpr,
    most_tiles: tl.constexpr,
    summing: tl.constexpr,
):
    view = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    row = view
    if rows is not None:
        row = tl.load(rows + view)
    source = row
    if ids is not None:
        source = tl.load(ids + row)
    image = images + source * (height * width * 3)
    pixel = tile * block + tl.arange(0, block)
    wanted = pixel < height * width
    down, across = pixel // width, pixel % width
    if flip is not None:
        across = tl.where(tl.load(flip + row) != 0, width - 1 - across, across)
    red, green, blue = _resampled(
        image, wanted, down, across, row, angle, crop, shift, height, width, padding
    )
    red, green, blue = red * (1 / 255), green * (1 / 255), blue * (1 / 255)
    if jitter is not None:
        jittered = tl.load(jitter + row) != 0
        for step in tl.static_range(operations):
            kind = tl.load(order + row * operations + step)
            factor = tl.load(factors + row * 4 + kind)
            if jittered:
                if kind == _HUE:
                    red, green, blue = _shifted_hue(red, green, blue, factor)
                else:
                    luma = _luma(red, green, blue)
                    other = tl.where(kind == _SATURATION, luma, 0.0)
                    if kind == _CONTRAST:
                        total = tl.sum(tl.where(wanted, luma, 0.0))
                        if summing:
                            tl.store(sums + view * tiles + tile, total)
                        elif tiles > 1:
                            part = tl.arange(0, most_tiles)
                            known = part < tiles
                            total = tl.sum(tl.load(sums + view * tiles + part, known, 0.0))
                        other = tl.zeros_like(luma) + total / (height * width)
                    red = _blended(red, other, factor)
                    green = _blended(green, other, factor)
                    blue = _blended(blue, other, factor)
    if not summing:
        if gray is not None:
            luma = _luma(red, green, blue)
            grayed = tl.load(gray + row) != 0
            red = tl.where(grayed, luma, red)
            green = tl.where(grayed, luma, green)
            blue = tl.where(grayed, luma, blue)
        out = views + view * (height * width * 3) + pixel * 3
        tl.store(out, red * red_scale + red_offset, wanted)
        tl.store(out + 1, green * green_scale + green_offset, wanted)
        tl.store(out + 2, blue * blue_scale + blue_offset, wanted)


@triton.jit
def _resampled(
    image,
    wanted,
    down,
    across,
    row,
    angle,
    crop,
    shift,
    height: tl.constexpr,
    width: tl.constexpr,
    padding: tl.constexpr,
):
    """Red, green and blue levels of the turned, cropped or shifted image at (down, across)."""
    if crop is not None:
        box = crop + row * 4
        upper, lower, lowering = _taps(down, tl.load(box), tl.load(box + 2), height)
        left, right, righting = _taps(across, tl.load(box + 1), tl.load(box + 3), width)
        first = _pixels(image, wanted, upper, left, row, angle, height, width)
        second = _pixels(image, wanted, lower, left, row, angle, height, width)
        red, green, blue = _mixed(first, second, lowering)
        first = _pixels(image, wanted, upper, right, row, angle, height, width)
        second = _pixels(image, wanted, lower, right, row, angle, height, width)
        return _mixed((red, green, blue), _mixed(first, second, lowering), righting)
    if shift is not None:
        down += tl.load(shift + row * 2).to(tl.int32) - padding
        across += tl.load(shift + row * 2 + 1).to(tl.int32) - padding
    return _pixels(image, wanted, down, across, row, angle, height, width)


@triton.jit
def _taps(place, start, length, size: tl.constexpr):
    """Two source lines of each output line, and the weight of the second: resampling.resized."""
    start, length = start.to(tl.int32), length.to(tl.int32)
    position = (place.to(tl.float32) + 0.5) * (length.to(tl.float32) / size) - 0.5
    position = tl.maximum(position, 0.0)
    first = tl.minimum(position.to(tl.int32), length - 1)
    weight = tl.minimum(position - first.to(tl.float32), 1.0)
    return first + start, tl.minimum(first + 1, length - 1) + start, weight


@triton.jit
def _mixed(first, second, weight):
    return (
        first[0] + weight * (second[0] - first[0]),
        first[1] + weight * (second[1] - first[1]),
        first[2] + weight * (second[2] - first[2]),
    )


@triton.jit
def _pixels(image, wanted, down, across, row, angle, height: tl.constexpr, width: tl.constexpr):
    """Levels of the turned image; black outside of it, and where it is turned in from outside."""
    wanted &= (down >= 0) & (down < height) & (across >= 0) & (across < width)
    if angle is not None:
        radians = tl.load(angle + row) * (3.141592653589793 / 180)
        cos, sin = tl.cos(radians), tl.sin(radians)
        y = down.to(tl.float64) - (height - 1) / 2
        x = across.to(tl.float64) - (width - 1) / 2
        across = _nearest(cos * x - sin * y + (width - 1) / 2)
        down = _nearest(sin * x + cos * y + (height - 1) / 2)
        wanted &= (down >= 0) & (down < height) & (across >= 0) & (across < width)
    pixel = image + (down * width + across) * 3
    red = tl.load(pixel, wanted, 0).to(tl.float32)
    green = tl.load(pixel + 1, wanted, 0).to(tl.float32)
    blue = tl.load(pixel + 2, wanted, 0).to(tl.float32)
    return red, green, blue


@triton.jit
def _nearest(place):
    return ((place + _ROUNDING) - _ROUNDING).to(tl.int32)


@triton.jit
def _luma(red, green, blue):
    return red * _RED + green * _GREEN + blue * _BLUE


@triton.jit
def _blended(plane, other, factor):
    return tl.minimum(tl.maximum(plane * factor + (1 - factor) * other, 0.0), 1.0)


@triton.jit
def _shifted_hue(red, green, blue, turns):
    """colour.shift_hue, on one pixel each."""
    high = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = high - low
    hue = tl.where(green == high, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = tl.where(red == high, green - blue, hue)
    hue = hue / tl.maximum(chroma, _TINY) + turns * 6
    hue -= 6 * tl.floor(hue * (1 / 6))
    red = low - chroma + chroma * _ramp(hue, 3)
    green = high + chroma - chroma * _ramp(hue, 2)
    blue = high + chroma - chroma * _ramp(hue, 4)
    return red, green, blue


@triton.jit
def _ramp(hue, centre: tl.constexpr):
    return tl.minimum(tl.maximum(tl.abs(hue - centre), 1.0), 2.0)
