"""Datasets of one's own as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from torch import Tensor

from unlearn_ray.core.errors import DataError, shown


class Indexable(Protocol):
    """Anything with a length that gives (image, label) for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


# Such a dataset, or the tensors of all images and of all labels.
Data = Indexable | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Samples:
    """Images as the model takes them, and labels.

    Attributes:
        images: float32, (N, ...).
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pixels:
    """How pixels in [0, 1] become what a model takes: (pixel - mean) / std.

    Attributes:
        mean, std: one number, or one per channel; None if the caller does not say.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def of(
        cls, mean: float | Sequence[float] | None, std: float | Sequence[float] | None
    ) -> Pixels:
        """From one number or one per channel."""
        both = [
            None if v is None else (v,) if isinstance(v, int | float) else tuple(v)
            for v in (mean, std)
        ]
        if (both[0] is None) != (both[1] is None):
            raise DataError("mean and std", "one is given without the other", "give both, or none")
        if both[1] is not None and min(both[1]) <= 0:
            raise DataError(f"std = {both[1]}", "not positive", "give positive numbers")
        return cls(*both)

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images, channels first, as the model takes them."""
        scaled = images.to(torch.float32) / 255
        if self.mean is None or self.std is None:
            return scaled
        shape = (-1, *(1,) * (images.dim() - 2))
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in (self.mean, self.std))
        return (scaled - mean.view(shape)) / std.view(shape)


def samples_of(data: Data, what: str, pixels: Pixels) -> Samples:
    """All samples of a dataset, on the CPU.

    Args:
        data: gives images as float tensors that the model takes, or as uint8 tensors (channels
            first) or PIL images, which are scaled to [0, 1] and normalised.
        what: it is called in errors.
        pixels: how they are normalised.

    Raises:
        DataError: it gives other things, or images of several shapes.
    """
    if _are_tensors(data):
        images, labels = data
    else:
        pairs = [_pair(data, number, what) for number in range(len(data))]
        shapes = {tuple(image.shape): number for number, (image, _) in enumerate(pairs)}
        if len(shapes) > 1:
            (first, at), (second, then), *_ = shapes.items()
            raise DataError(
                what,
                f"sample {at} has the shape {first}, and sample {then} {second}",
                "give all images one size, by a transform",
            )
        if not pairs:
            raise DataError(what, "it is empty", "give at least one sample")
        images = torch.stack([image for image, _ in pairs])
        labels = torch.tensor([label for _, label in pairs])
    return _checked(images, labels, what, pixels)


def _are_tensors(data: Data) -> TypeGuard[tuple[Tensor, Tensor]]:
    return isinstance(data, tuple) and len(data) == 2 and all(isinstance(o, Tensor) for o in data)


def _pair(data: Indexable, number: int, what: str) -> tuple[Tensor, int]:
    item = data[number]
    if not isinstance(item, tuple | list) or len(item) != 2:
        said = shown(repr(item))
        raise DataError(f"sample {number} of {what} = {said}", "not a pair", "give (image, label)")
    image, label = item
    if not isinstance(image, Tensor):
        image = _of_pil(image, f"image {number} of {what}")
    try:
        return image, int(label)
    except (TypeError, ValueError):
        said = shown(repr(label))
        raise DataError(
            f"label {number} of {what} = {said}", "not a class", "give whole numbers from 0 on"
        ) from None


def _of_pil(image: Any, what: str) -> Tensor:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise DataError(
            what, f"neither a tensor nor an 8-bit image ({type(image).__name__})",
            "give tensors, or PIL images of mode L or RGB",
        )  # fmt: skip
    channels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return torch.tensor(channels.transpose(2, 0, 1))


def _checked(images: Tensor, labels: Tensor, what: str, pixels: Pixels) -> Samples:
    if len(images) != len(labels) or not len(labels):
        raise DataError(
            f"{what}: {len(images)} images and {len(labels)} labels",
            "empty, or of different lengths",
            "give a label for each image",
        )
    if labels.dim() != 1 or labels.is_floating_point() or int(labels.min()) < 0:
        raise DataError(
            f"labels of {what}", "not classes", "give one whole number from 0 on for each image"
        )
    if images.dtype == torch.uint8:
        images = pixels.normalised(images)
    elif not images.is_floating_point():
        raise DataError(f"images of {what}", f"of type {images.dtype}", "give floats or uint8")
    images = images.detach().to("cpu", torch.float32)
    if not bool(images.isfinite().all()):
        raise DataError(f"images of {what}", "some values are not finite", "remove them")
    return Samples(images, labels.detach().to("cpu", torch.int64))
