"""Rotation of many images at once, each by its own angle."""

from __future__ import annotations

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor


def rotated(
    images: UInt8[Tensor, "n size size 3"], degrees: Float64[Tensor, " n"]
) -> UInt8[Tensor, "n size size 3"]:
    """The images rotated counter-clockwise about their centre, on a black background.

    Interpolation is nearest-neighbour, torchvision's default. Positions are computed in float64,
    so that every device picks the same pixel.
    """
    count, size, _, channels = images.shape
    centre = (size - 1) / 2
    place = torch.arange(size, dtype=torch.float64, device=images.device) - centre
    angle = torch.deg2rad(degrees)[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    across, down = place[None, None, :], place[None, :, None]
    column = (cos * across - sin * down + centre).round_().long()
    row = (sin * across + cos * down + centre).round_().long()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    first = torch.arange(count, device=images.device)[:, None, None] * (size * size)
    source = torch.where(inside, first + row * size + column, 0).view(-1)
    turned = images.reshape(-1, channels).index_select(0, source).view_as(images)
    return turned * inside[..., None]
