"""Batched augmentation on the device, in the distribution of the torchvision transforms.

Everything is drawn on the CPU (`Augmentation.sample`), so that every device and every number of
workers sees the same views; `Augmentation.apply` is tensor work that never waits for the device.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from unlearn_ray.core.schema import NonNegativeFloat, UnitInterval, schema
from unlearn_ray.core.transfer import to_device
from unlearn_ray.data.fused_views import can_fuse, fused_views
from unlearn_ray.data.rendering import render, scale_and_offset, work_at_once, work_in_groups
from unlearn_ray.data.rotation import rotated
from unlearn_ray.data.view_parameters import (
    ViewParameters,
    draw_angle,
    draw_crop,
    draw_factors,
    draw_flag,
    draw_order,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_ALL = slice(None)


@schema
class Augmentation:
    """A distribution of views of a square image; an operation at 0 or null is skipped.

    The order is: rotation, crop, flip, colour jitter, gray, normalisation.

    Attributes:
        rotation: RandomRotation by an angle uniform in [-rotation, rotation] degrees, about the
            centre, with nearest-neighbour interpolation and a black background.
        crop_scale: range of the share of the area that RandomResizedCrop keeps; null: no such
            crop.
        crop_ratio: its range of width / height.
        padding: black pixels added on every side before a random crop of the image's size.
        flip: probability of a horizontal flip.
        jitter: probability of ColorJitter, with the strengths brightness, contrast,
            saturation and hue (torchvision's arguments), in an order drawn for each image.
        gray: probability of RandomGrayscale.
        mean, std: of each channel in [0, 1], for normalisation.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: Annotated[int, Field(ge=0, le=1024)] = 0
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
        # Beyond it every image is a strip of less than a pixel.
        if not 1e-4 <= self.crop_ratio[0] <= self.crop_ratio[1] <= 1e4:
            raise ValueError("crop_ratio must be (low, high) with 0.0001 <= low <= high <= 10000")
        if min(self.std) <= 0:
            raise ValueError("std must be positive in every channel")
        return self

    def sample(self, count: int, image_size: int, generator: torch.Generator) -> ViewParameters:
        """Draw parameters for `count` images, on the CPU, from `generator`."""
        angle = crop = shift = factors = order = None
        if self.rotation:
            angle = draw_angle(count, self.rotation, generator)
        if self.crop_scale is not None:
            crop = draw_crop(count, image_size, self.crop_scale, self.crop_ratio, generator)
        elif self.padding:
            shift = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flip = draw_flag(count, self.flip, generator)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        operations = tuple(kind for kind, strength in enumerate(strengths) if strength)
        jitter = draw_flag(count, self.jitter, generator) if operations else None
        if jitter is None:
            operations = ()
        else:
            factors = draw_factors(count, strengths, generator)
            order = draw_order(count, operations, generator)
        gray = draw_flag(count, self.gray, generator)
        return ViewParameters(
            count, operations, angle, crop, shift, flip, jitter, factors, order, gray
        )

    def apply(
        self,
        images: UInt8[Tensor, "images height width 3"],
        parameters: ViewParameters,
        ids: Int64[Tensor, " batch"] | None = None,
        rows: slice | Int64[Tensor, " rows"] = _ALL,
    ) -> Float[Tensor, "rows 3 height width"]:
        """One view of each image, normalised, channels_last in memory.

        In float32; on a GPU under autocast in its dtype, to which a first layer would convert it.

        Args:
            images: those of a batch, or of a dataset that `ids` are drawn from.
            parameters: one row for each image of the batch.
            ids: positions of the batch's images in `images`, on their device.
            rows: which images of the batch; by default, all.
        """
        if can_fuse(images):
            return self._apply_at_once(images, parameters.to(images.device), ids, rows)
        images = images[rows] if ids is None else images[ids[rows]]
        parameters = parameters.rows(rows)
        size = images.shape[1]
        if parameters.angle is not None:
            images = rotated(images, to_device(parameters.angle, images.device))
        if parameters.shift is not None:
            images = functional.pad(images, (0, 0, *(self.padding,) * 4))
        shape = (len(images), size, size, 3)
        views = torch.empty(shape, dtype=_dtype(images.device), device=images.device)
        if images.device.type != "cpu":
            work = work_at_once(parameters.to(images.device), size)
            render(images, work, self.mean, self.std, views)
            return views.permute(0, 3, 1, 2)
        order, groups = work_in_groups(parameters, size)
        images = images if order is None else images.index_select(0, order)
        for group, work in groups:
            render(images[group], work, self.mean, self.std, views[group])
        if order is not None:
            views = views.index_select(0, order.argsort())
        return views.permute(0, 3, 1, 2)

    def _apply_at_once(
        self,
        images: Tensor,
        parameters: ViewParameters,
        ids: Tensor | None,
        rows: slice | Tensor,
    ) -> Tensor:
        chosen = None
        if isinstance(rows, Tensor):
            chosen = rows
        else:
            parameters = parameters.rows(rows)
            ids = None if ids is None else ids[rows]
            images = images[rows] if ids is None else images
        scale, offset = scale_and_offset(self.mean, self.std)
        return fused_views(
            images, parameters, ids=ids, rows=chosen, padding=self.padding, scale=scale,
            offset=offset, dtype=_dtype(images.device),
        )  # fmt: skip

    def plain(
        self, images: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The test-time view of each image."""
        return normalise(images, self.mean, self.std)

    def __call__(
        self, images: UInt8[Tensor, "batch height width 3"], generator: torch.Generator
    ) -> Float[Tensor, "batch 3 height width"]:
        """`sample` then `apply`."""
        return self.apply(images, self.sample(images.shape[0], images.shape[1], generator))


def contrastive_views() -> Augmentation:
    """MUC's training views, as in its code: crop, flip, colour jitter, gray; no blur."""
    return Augmentation(
        crop_scale=(0.1, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4,
        saturation=0.4, hue=0.1, gray=0.2,
    )  # fmt: skip


def probe_views() -> Augmentation:
    """The views that MUC trains its linear probe on: a crop padded by 4 pixels, and a flip."""
    return Augmentation(padding=4, flip=0.5)


def normalise(
    images: UInt8[Tensor, "batch height width 3"],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Float[Tensor, "batch 3 height width"]:
    """Test-time view: scaled to [0, 1] and normalised, channels_last in memory."""
    count, height, width, _ = images.shape
    if can_fuse(images):
        scale, offset = scale_and_offset(mean, std)
        nothing = ViewParameters(count)
        return fused_views(images, nothing, scale=scale, offset=offset, dtype=torch.float32)
    # Whole rows at a time: an innermost loop over three channels is not vectorised.
    factor, summand = (
        to_device(torch.tensor(values).repeat(width), images.device)
        for values in scale_and_offset(mean, std)
    )
    rows = images.reshape(count, height, width * 3).to(torch.float32)
    rows.mul_(factor / 255).add_(summand)
    return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return torch.float32
