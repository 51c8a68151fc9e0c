"""Batched augmentation on the device, in the distribution of the torchvision transforms.

Everything is drawn on the CPU (`Augmentation.sample`), so that every device and every number of
workers sees the same views; `Augmentation.apply` is tensor work without waiting for the device.
On the CPU the images are taken in groups that need the same operations, small enough for the
cache; elsewhere all at once, with the operations that an image does not need made neutral.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from jaxtyping import Float, UInt8
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from unlearn_ray.core.schema import NonNegativeFloat, NonNegativeInt, UnitInterval, schema
from unlearn_ray.data import colour, resampling
from unlearn_ray.data.view_parameters import (
    CONTRAST,
    HUE,
    SATURATION,
    ViewParameters,
    draw_crop,
    draw_factors,
    draw_flag,
    draw_order,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Pixels of a group on the CPU: three float32 planes and their temporaries fit a 1 MiB cache.
_GROUP_PIXELS = 32 * 1024


@schema
class Augmentation:
    """A distribution of views of a square image; what a field leaves at 0 or null costs nothing.

    The view is made in this order: crop, flip, colour jitter, gray, normalisation.

    Attributes:
        crop_scale: share of the image's area that RandomResizedCrop keeps; null: no such crop.
        crop_ratio: its range of width / height.
        padding: black pixels around the image before a crop of the image's size is taken.
        flip: probability of swapping left and right.
        jitter: probability of ColorJitter, with the strengths brightness, contrast,
            saturation and hue (torchvision's arguments), in an order drawn for each image.
        gray: probability of RandomGrayscale.
        mean, std: what normalises each channel of [0, 1].
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: NonNegativeInt = 0
    flip: UnitInterval = 0.0
    jitter: UnitInterval = 0.0
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    gray: UnitInterval = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @model_validator(mode="after")
    def _consistent(self) -> Augmentation:
        if self.crop_scale is not None and self.padding:
            raise ValueError("crop_scale and padding are two kinds of crop; set one of them")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError("crop_scale must be (low, high) with 0 < low <= high <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError("crop_ratio must be (low, high) with 0 < low <= high")
        if min(self.std) <= 0:
            raise ValueError("std must be positive in every channel")
        return self

    def sample(self, count: int, image_size: int, generator: torch.Generator) -> ViewParameters:
        """Draw parameters for `count` images, on the CPU, from `generator`."""
        crop = shift = factors = order = None
        if self.crop_scale is not None:
            crop = draw_crop(count, image_size, self.crop_scale, self.crop_ratio, generator)
        elif self.padding:
            shift = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flip = draw_flag(count, self.flip, generator)
        jitter = draw_flag(count, self.jitter, generator) if any(self._strengths) else None
        if jitter is not None:
            factors = draw_factors(count, self._strengths, generator)
            order = draw_order(count, self._strengths, generator)
        gray = draw_flag(count, self.gray, generator)
        return ViewParameters(count, crop, shift, flip, jitter, factors, order, gray)

    def apply(
        self, images: UInt8[Tensor, "batch height width 3"], parameters: ViewParameters
    ) -> Float[Tensor, "batch 3 height width"]:
        """One view of each image, normalised, channels_last in memory."""
        if images.device.type != "cpu":
            return self._view(images, parameters.to(images.device), None)
        views = torch.empty(images.shape, dtype=torch.float32)
        for rows, hue_position in self._groups(parameters, images.shape[1] * images.shape[2]):
            chosen = images.index_select(0, rows)
            view = self._view(chosen, parameters.rows(rows), hue_position)
            views.index_copy_(0, rows, view.permute(0, 2, 3, 1))
        return views.permute(0, 3, 1, 2)

    def __call__(
        self, images: UInt8[Tensor, "batch height width 3"], generator: torch.Generator
    ) -> Float[Tensor, "batch 3 height width"]:
        """`sample` then `apply`."""
        return self.apply(images, self.sample(images.shape[0], images.shape[1], generator))

    @property
    def _strengths(self) -> tuple[float, float, float, float]:
        return self.brightness, self.contrast, self.saturation, self.hue

    def _groups(self, parameters: ViewParameters, pixels: int) -> Iterator[tuple[Tensor, int]]:
        """Rows that need the same operations, with the position of hue among them; -1: none."""
        if parameters.jitter is None or parameters.order is None:
            kind = torch.full((parameters.count,), -1)
        else:
            kind = torch.where(parameters.jitter, self._hue_position(parameters.order), -1)
        for hue_position in range(-1, 5):
            rows = (kind == hue_position).nonzero()[:, 0]
            if len(rows):
                for part in rows.tensor_split(-(-len(rows) * pixels // _GROUP_PIXELS)):
                    yield part, hue_position

    def _view(self, images: Tensor, parameters: ViewParameters, hue_position: int | None) -> Tensor:
        """One view of each image; `hue_position` None: the images differ in it."""
        planes = self._cropped(images, parameters)
        _, count, width, height = planes.shape
        planes = planes.view(3, count, -1)
        if parameters.jitter is not None and hue_position != -1:
            self._jitter(planes, parameters, hue_position)
        if parameters.gray is not None:
            planes = _grayed(planes, parameters.gray)
        return _normalised(
            planes.view(3, count, width, height).permute(1, 3, 2, 0), self.mean, self.std
        )

    def _cropped(self, images: Tensor, parameters: ViewParameters) -> Tensor:
        size = images.shape[1]
        rows = columns = None
        if parameters.crop is not None:
            top, left, height, width = parameters.crop.unbind(dim=1)
            rows = resampling.resized(top, height, size)
            columns = resampling.resized(left, width, size)
        elif parameters.shift is not None:
            top, left = parameters.shift.unbind(dim=1)
            rows, columns = resampling.shifted(top, size), resampling.shifted(left, size)
            images = functional.pad(images, (0, 0, *(self.padding,) * 4))
        if parameters.flip is not None:
            if columns is None:
                columns = resampling.shifted(
                    torch.zeros_like(parameters.flip, dtype=torch.long), size
                )
            columns = columns.reversed_where(parameters.flip)
        return resampling.resample(images, rows, columns)

    def _jitter(self, planes: Tensor, parameters: ViewParameters, hue_position: int | None) -> None:
        """The blends before hue, hue, and the blends after it.

        Where the images differ in hue's position, each side has room for all three blends and
        those on the other side are neutral; so hue, the costliest, is computed once.
        """
        order, factors, jitter = parameters.order, parameters.factors, parameters.jitter
        assert jitter is not None
        assert order is not None
        assert factors is not None
        keep, shift, count = factors.gather(1, order), factors[:, HUE:], order.shape[1]
        if hue_position is not None:
            before = after = keep
            slots_before, slots_after = range(hue_position), range(hue_position + 1, count)
        else:
            place = torch.arange(count, device=order.device)
            position, jitter = self._hue_position(order)[:, None], jitter[:, None]
            before = torch.where(jitter & (place < position), keep, 1)
            after = torch.where(jitter & (place > position), keep, 1)
            shift = torch.where(jitter, shift, 0)
            slots_before = range(count - 1 if self.hue else count)
            slots_after = range(1, count if self.hue else 1)
        for slot in slots_before:
            self._blend(planes, before[:, slot, None], order[:, slot, None])
        if self.hue:
            colour.shift_hue(planes, shift)
        for slot in slots_after:
            self._blend(planes, after[:, slot, None], order[:, slot, None])

    def _blend(self, planes: Tensor, keep: Tensor, operation: Tensor) -> None:
        to_gray = torch.where(operation == SATURATION, 1 - keep, 0) if self.saturation else None
        to_mean = torch.where(operation == CONTRAST, 1 - keep, 0) if self.contrast else None
        colour.blend(planes, keep, to_gray, to_mean)

    def _hue_position(self, order: Tensor) -> Tensor:
        """Which operation in each image's order is hue; past the last one if none is."""
        if not self.hue:
            return torch.full_like(order[:, 0], order.shape[1])
        return (order == HUE).to(torch.uint8).argmax(dim=1)


def _grayed(planes: Tensor, gray: Tensor) -> Tensor:
    if planes.device.type != "cpu":
        return torch.where(gray[:, None], colour.luma(planes), planes)
    rows = gray.nonzero()[:, 0]
    return planes.index_copy_(1, rows, colour.luma(planes.index_select(1, rows)).expand(3, -1, -1))


def _normalised(
    images: Float[Tensor, "batch height width 3"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Tensor, "batch 3 height width"]:
    count, height, width, _ = images.shape
    scale = torch.tensor([1 / s for s in std], device=images.device).repeat(width)
    offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    # Whole rows at a time: an innermost loop over three channels would not be vectorised.
    rows = images.reshape(count, height, width * 3)
    rows = torch.addcmul(offset.repeat(width), rows, scale)
    return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


def contrastive_views() -> Augmentation:
    """MUC's training views (official code; FIELD figures C1), without blur."""
    return Augmentation(
        crop_scale=(0.1, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4,
        saturation=0.4, hue=0.1, gray=0.2,
    )  # fmt: skip


def probe_views() -> Augmentation:
    """The views that MUC trains its linear probe on: a 4-pixel padded crop and a flip."""
    return Augmentation(padding=4, flip=0.5)


def normalise(
    images: UInt8[Tensor, "batch height width 3"],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Float[Tensor, "batch 3 height width"]:
    """Test-time view: scaled to [0, 1] and normalised, channels_last in memory."""
    return _normalised(images.to(torch.float32).mul_(1 / 255), mean, std)
