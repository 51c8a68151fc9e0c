"""Random augmentation parameters of each image, drawn on the CPU: the same for every device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unlearn_ray.core.transfer import moved

CROP_TRIES = 10
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True)
class ViewParameters:
    """One row per image; None for operations that the augmentation does not have.

    Attributes:
        count: number of images.
        operations: the colour operations that are applied (of non-zero strength).
        angle: degrees of a counter-clockwise rotation.
        crop: top, left, height and width of the box that is stretched to the image's size.
        shift: top and left of the crop inside the padded image.
        flip: whether the image is flipped horizontally.
        jitter: whether the colours are jittered.
        factors: of brightness, contrast, saturation and hue (in turns).
        order: the permutation in which the operations are applied.
        gray: whether the image is finally converted to gray.
    """

    count: int
    operations: tuple[int, ...] = ()
    angle: Float64[Tensor, " batch"] | None = None
    crop: Int64[Tensor, "batch 4"] | None = None
    shift: Int64[Tensor, "batch 2"] | None = None
    flip: Bool[Tensor, " batch"] | None = None
    jitter: Bool[Tensor, " batch"] | None = None
    factors: Float[Tensor, "batch 4"] | None = None
    order: Int64[Tensor, "batch operations"] | None = None
    gray: Bool[Tensor, " batch"] | None = None

    def rows(self, index: slice | Int64[Tensor, " rows"]) -> ViewParameters:
        """The parameters of some of the images, in the order of `index`."""
        count = len(range(self.count)[index] if isinstance(index, slice) else index)
        chosen = {name: part[index] for name, part in self.tensors().items()}
        return replace(self, count=count, **chosen)  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> ViewParameters:
        """The same on another device, moved there in one copy."""
        parts = self.tensors()
        if all(part.device == torch.device(device) for part in parts.values()):
            return self
        return self.with_tensors(moved([*parts.values()], torch.device(device)))

    def tensors(self) -> dict[str, Tensor]:
        """The attributes that are tensors."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: part for name, part in parts.items() if isinstance(part, Tensor)}

    def with_tensors(self, parts: Iterable[Tensor]) -> ViewParameters:
        """The same with other tensors, in the order of `tensors`."""
        return replace(self, **dict(zip(self.tensors(), parts, strict=True)))  # type: ignore[arg-type]


def draw_angle(count: int, degrees: float, generator: torch.Generator) -> Float64[Tensor, " count"]:
    """Angles uniform in [-degrees, degrees], as torchvision's RandomRotation draws them."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    return uniform.mul_(2 * degrees).sub_(degrees)


def draw_crop(
    count: int,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Int64[Tensor, "count 4"]:
    """Boxes (top, left, height, width), distributed as by torchvision's RandomResizedCrop.

    Area uniform in `scale`, ratio log-uniform in `ratio`; the first of ten tries that fits
    inside the image, else the largest central box whose ratio is allowed.
    """
    uniform = torch.rand(2, CROP_TRIES, count, generator=generator, dtype=torch.float64)
    low, high = torch.log(torch.tensor(ratio, dtype=torch.float64))
    area = (uniform[0] * (scale[1] - scale[0]) + scale[0]) * (size * size)
    aspect = torch.exp_(uniform[1] * (high - low) + low)
    width = torch.sqrt(area * aspect).round_()
    height = torch.sqrt(area / aspect).round_()
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    chosen = fits.to(torch.uint8).argmax(dim=0, keepdim=True)  # the first that fits
    whole_width = min(size, round(size * ratio[1]))
    whole_height = min(size, round(size / ratio[0]))
    any_fits = fits.any(dim=0)
    width = torch.where(any_fits, width.gather(0, chosen)[0], whole_width)
    height = torch.where(any_fits, height.gather(0, chosen)[0], whole_height)
    place = torch.rand(2, count, generator=generator, dtype=torch.float64)
    room = torch.stack((size - height, size - width))
    corner = torch.where(any_fits, (place * (room + 1)).floor_(), (room / 2).floor_())
    return torch.stack((*corner, height, width), dim=1).long()


def draw_factors(
    count: int, strengths: tuple[float, float, float, float], generator: torch.Generator
) -> Float[Tensor, "count 4"]:
    """Factors of brightness, contrast and saturation (around 1, never negative) and hue (0)."""
    low = torch.tensor([*(max(0.0, 1 - strength) for strength in strengths[:3]), -strengths[HUE]])
    high = torch.tensor([*(1 + strength for strength in strengths[:3]), strengths[HUE]])
    return torch.rand(count, 4, generator=generator).mul_(high - low).add_(low)


def draw_order(
    count: int, operations: tuple[int, ...], generator: torch.Generator
) -> Int64[Tensor, "count operations"]:
    """A uniformly random order of the operations for each image."""
    orders = torch.tensor(list(permutations(operations)))
    return orders[torch.randint(len(orders), (count,), generator=generator)]


def draw_flag(
    count: int, probability: float, generator: torch.Generator
) -> Bool[Tensor, " count"] | None:
    """True with `probability`; None if that is 0."""
    if probability == 0:
        return None
    return torch.rand(count, generator=generator) < probability
