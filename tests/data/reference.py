"""torchvision's own operations, one image and one operation at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.view_parameters import ViewParameters

# isort: split
from torchvision.transforms import functional


def photographs(count: int, size: int, seed: int = 0) -> Tensor:
    """Pieces of scikit-learn's two photographs, halved in size: (count, size, size, 3), uint8."""
    from sklearn.datasets import load_sample_images

    pictures = [picture[::2, ::2] for picture in load_sample_images().images]
    generator = np.random.RandomState(seed)
    pieces = []
    for number in range(count):
        picture = pictures[number % 2]
        top = generator.randint(picture.shape[0] - size)
        left = generator.randint(picture.shape[1] - size)
        pieces.append(picture[top : top + size, left : left + size])
    return torch.from_numpy(np.stack(pieces))


def view(image: Any, parameters: ViewParameters, row: int, padding: int = 0) -> Any:
    """One view before normalisation, of a PIL image or a float tensor (3, H, W)."""
    size = list(functional.get_image_size(image))[::-1]
    if parameters.angle is not None:
        image = functional.rotate(image, parameters.angle[row].item())
    if parameters.crop is not None:
        box = parameters.crop[row].tolist()
        image = functional.resized_crop(image, *box, size, antialias=True)
    if parameters.shift is not None:
        image = functional.pad(image, [padding])
        image = functional.crop(image, *parameters.shift[row].tolist(), *size)
    if parameters.flip is not None and parameters.flip[row]:
        image = functional.hflip(image)
    if parameters.jitter is not None and parameters.jitter[row]:
        image = jittered(image, parameters, row)
    if parameters.gray is not None and parameters.gray[row]:
        image = functional.rgb_to_grayscale(image, 3)
    return image


def jittered(image: Any, parameters: ViewParameters, row: int) -> Any:
    operations = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    assert parameters.order is not None
    assert parameters.factors is not None
    for operation in parameters.order[row].tolist():
        image = operations[operation](image, parameters.factors[row, operation].item())
    return image


def tensor_views(images: Tensor, parameters: ViewParameters, augmentation: Augmentation) -> Tensor:
    """Normalised views in float64, by torchvision's tensor path."""
    views = [
        functional.normalize(
            view(image.permute(2, 0, 1).double() / 255, parameters, row, augmentation.padding),
            augmentation.mean,
            augmentation.std,
        )
        for row, image in enumerate(images)
    ]
    return torch.stack(views)


def pil_views(images: Tensor, parameters: ViewParameters, padding: int = 0) -> Tensor:
    """Views as uint8 levels (N, 3, H, W), by torchvision's PIL path."""
    views = [
        view(functional.to_pil_image(image.permute(2, 0, 1)), parameters, row, padding)
        for row, image in enumerate(images)
    ]
    return torch.stack([functional.pil_to_tensor(image) for image in views])
