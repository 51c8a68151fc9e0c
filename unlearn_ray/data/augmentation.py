"""Batched augmentation on the device, in the distribution of the torchvision transforms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unlearn_ray.core.schema import NonNegativeFloat, NonNegativeInt, UnitInterval, schema

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for each image of a batch (filled in with the implementation)."""


@schema
class Augmentation:
    """A distribution of views of an image."""

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: NonNegativeInt = 0
    flip: UnitInterval = 0.0
    jitter: UnitInterval = 0.0
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: NonNegativeFloat = 0.0
    gray: UnitInterval = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def sample(self, count: int, image_size: int, generator: torch.Generator) -> ViewParameters:
        """Draw parameters for `count` images, on the CPU, from `generator`."""
        raise NotImplementedError

    def apply(
        self, images: UInt8[Tensor, "batch height width 3"], parameters: ViewParameters
    ) -> Float[Tensor, "batch 3 height width"]:
        """One view of each image, normalised, channels_last in memory."""
        raise NotImplementedError

    def __call__(
        self, images: UInt8[Tensor, "batch height width 3"], generator: torch.Generator
    ) -> Float[Tensor, "batch 3 height width"]:
        """`sample` then `apply`."""
        return self.apply(images, self.sample(images.shape[0], images.shape[1], generator))


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
    raise NotImplementedError
