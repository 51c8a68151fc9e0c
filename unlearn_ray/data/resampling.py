"""Crops, shifts and flips of many images at once, each with its own box.

Both axes are treated alike: an output row is an input row or interpolates two. The images are
gathered row by row, transposed, and gathered again, so that every step copies whole rows. The
result is transposed, one colour plane after the other; later operations are pixelwise, and the
last copy transposes it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Taps:
    """The source of each output row of each image.

    Attributes:
        first: index of the input row, (N, S).
        second, weight: the second row of the interpolation, and its weight, (N, S); None without
            interpolation.
    """

    first: Int64[Tensor, "n s"]
    second: Int64[Tensor, "n s"] | None = None
    weight: Float[Tensor, "n s"] | None = None

    def reversed_where(self, flip: Bool[Tensor, " n"]) -> Taps:
        """The same rows in reverse order, for the images where `flip` is true."""
        return self._each(lambda part: torch.where(flip[:, None], part.flip(1), part))

    def part(self, images: slice) -> Taps:
        """The taps of some of the images."""
        return self._each(lambda part: part[images])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Taps:
        if self.second is None or self.weight is None:
            return Taps(change(self.first))
        return Taps(change(self.first), change(self.second), change(self.weight))


def resized(start: Int64[Tensor, " n"], length: Int64[Tensor, " n"], size: int) -> Taps:
    """Bilinear taps that stretch `length` rows from `start` to `size` rows.

    Coordinates are those of torchvision's resize (pixel centres at half-integers, clamped to
    the box). `length` is at most `size`, so no antialiasing is needed.
    """
    steps = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    position = (steps * (length / size)[:, None] - 0.5).clamp_min_(0)
    last = (length - 1)[:, None]
    first = torch.minimum(position.long(), last)
    weight = (position - first).clamp_max_(1)
    second = torch.minimum(first + 1, last)
    return Taps(first + start[:, None], second + start[:, None], weight)


def shifted(start: Int64[Tensor, " n"], size: int) -> Taps:
    """Taps that copy `size` rows from `start`."""
    return Taps(start[:, None] + torch.arange(size, device=start.device))


def resample(
    images: UInt8[Tensor, "n height width 3"], rows: Taps | None, columns: Taps | None
) -> Float[Tensor, "3 n columns rows"]:
    """Transposed colour planes of the resampled images, scaled to [0, 1].

    Args:
        images: uint8, RGB.
        rows, columns: sources of the output's rows and columns; None keeps them.
    """
    count, height, width, _ = images.shape
    lines = images.reshape(count * height, width * 3)
    if rows is not None:
        lines = _mixed(lines, rows, height)
    stretched = lines.view(count, -1, width, 3).permute(3, 0, 2, 1)
    # Transposed as bytes, which are faster to move than floats.
    planes = stretched.contiguous().float()
    if columns is not None:
        planes = _mixed(planes.view(3, count * width, -1), columns, width)
    return planes.view(3, count, -1, planes.shape[-1]).mul_(1 / 255)


def _mixed(lines: Tensor, taps: Taps, length: int) -> Tensor:
    """Gather and interpolate along dimension -2, where each image has `length` lines."""
    first = lines.index_select(-2, _flat(taps.first, length))
    if taps.second is None or taps.weight is None:
        return first
    second = lines.index_select(-2, _flat(taps.second, length))
    return first.float().lerp_(second.float(), taps.weight.reshape(-1, 1))


def _flat(index: Tensor, length: int) -> Tensor:
    image = torch.arange(index.shape[0], device=index.device) * length
    return (index + image[:, None]).view(-1)
