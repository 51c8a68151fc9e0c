"""Views held against torchvision's operations, given the same parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.data.reference import photographs, pil_views, tensor_views
from unlearn_ray.data.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    contrastive_views,
    normalise,
    probe_views,
)
from unlearn_ray.data.rendering import render, work_at_once
from unlearn_ray.data.rotation import rotated
from unlearn_ray.data.view_parameters import ViewParameters

AUGMENTATIONS = {
    "contrastive": contrastive_views(),
    "probe": probe_views(),
    "nothing": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "rotation": Augmentation(rotation=180),
    "rotation and crop": Augmentation(rotation=15, padding=4, flip=0.5),
    "rotation and more": Augmentation(rotation=30, crop_scale=(0.3, 1), jitter=0.5, hue=0.2),
    "crop": Augmentation(crop_scale=(0.05, 1.0), crop_ratio=(0.3, 3.0)),
    "hue": Augmentation(jitter=0.9, hue=0.5),
    "no hue": Augmentation(jitter=0.9, brightness=0.8, contrast=1.5, saturation=2.0),
    "two blends": Augmentation(jitter=0.7, contrast=0.3, brightness=0.2),
    "saturation": Augmentation(jitter=1.0, saturation=0.9, gray=0.3),
    "gray": Augmentation(gray=0.5, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
}
each_augmentation = pytest.mark.parametrize(
    "augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int) -> Tensor:
    shape = (count, size, size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(1))


def levels(views: Tensor) -> Tensor:
    """Back to 0 .. 255."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (views * std[:, None, None] + mean[:, None, None]) * 255


@each_augmentation
@pytest.mark.parametrize("size", [8, 32, 33])
def test_views_are_torchvisions(augmentation: Augmentation, size: int) -> None:
    # Noise is the hardest case: every crop mixes unlike colours, every pixel has another hue.
    images = torch.cat((noise(40, size), photographs(40, size)))
    images[0], images[1] = 0, 255
    parameters = augmentation.sample(80, size, generator())
    views = augmentation.apply(images, parameters)
    assert views.dtype == torch.float32
    assert views.is_contiguous(memory_format=torch.channels_last)
    expected = tensor_views(images, parameters, augmentation)
    torch.testing.assert_close(views.double(), expected, rtol=0, atol=1e-4)


@each_augmentation
def test_what_other_devices_compute_is_the_same(augmentation: Augmentation) -> None:
    images = noise(100, 16)
    parameters = augmentation.sample(100, 16, generator())
    turned = images if parameters.angle is None else rotated(images, parameters.angle)
    padded = functional.pad(turned, (0, 0, *(augmentation.padding,) * 4))
    views = torch.empty(images.shape)
    # All images together, with neutral operations where one needs none.
    work = work_at_once(parameters, 16)
    render(padded, work, augmentation.mean, augmentation.std, views)
    expected = augmentation.apply(images, parameters)
    torch.testing.assert_close(views.permute(0, 3, 1, 2), expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
@each_augmentation
def test_gpu_and_cpu_see_the_same_views(augmentation: Augmentation) -> None:
    images = noise(300, 32)
    there = augmentation(images.cuda(), generator())
    assert there.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(there.cpu(), augmentation(images, generator()), rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_gpu_never_waits() -> None:
    images, augmentation = noise(64, 32).cuda(), contrastive_views()
    parameters = augmentation.sample(64, 32, generator())
    augmentation.apply(images, parameters)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmentation.apply(images, parameters.to("cuda"))
        normalise(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("augmentation", "mean_error"),
    [
        (replace(contrastive_views(), jitter=0.0), 0.6),
        (contrastive_views(), 1.5),
        (probe_views(), 1e-4),
        (Augmentation(rotation=180), 1e-2),
    ],
)
def test_views_are_near_pils(augmentation: Augmentation, mean_error: float) -> None:
    # PIL rounds to whole levels at every step, so it cannot be met exactly.
    images = photographs(300, 32)
    parameters = augmentation.sample(300, 32, generator())
    views = levels(augmentation.apply(images, parameters))
    error = (views - pil_views(images, parameters, augmentation.padding)).abs()
    assert error.mean() <= mean_error
    assert error.quantile(0.99) <= 8 * mean_error


def test_crop_does_not_see_outside_its_box() -> None:
    images = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    images[:, 10:20, 5:15] = 0
    crop = torch.tensor([[10, 5, 10, 10]])
    views = Augmentation(crop_scale=(0.1, 1.0)).apply(images, ViewParameters(1, crop=crop))
    assert levels(views).abs().max() < 1e-3


@pytest.mark.parametrize("size", [1, 2, 7, 32, 84])
def test_quarter_turns_are_exact(size: int) -> None:
    images = noise(4, size)
    turned = rotated(images, torch.tensor([0.0, 90.0, 180.0, -90.0], dtype=torch.float64))
    for image, view, quarters in zip(images, turned, (0, 1, 2, -1), strict=True):
        assert torch.equal(view, image.rot90(quarters, (0, 1)))


@pytest.mark.parametrize("size", [9, 32, 84])
def test_a_rotation_is_that_of_single_pixels(size: int) -> None:
    images, degrees = noise(3, size), [-171.3, 14.2, 44.9]
    turned = rotated(images, torch.tensor(degrees, dtype=torch.float64))
    centre = (size - 1) / 2
    for image, view, angle in zip(images.tolist(), turned.tolist(), degrees, strict=True):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        for y in range(size):
            for x in range(size):
                column = round(cos * (x - centre) - sin * (y - centre) + centre)
                row = round(sin * (x - centre) + cos * (y - centre) + centre)
                inside = 0 <= column < size and 0 <= row < size
                assert view[y][x] == (image[row][column] if inside else [0, 0, 0])


def test_normalise_is_the_test_time_view() -> None:
    images = noise(5, 9)
    scaled = images.permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor(IMAGENET_MEAN).double(), torch.tensor(IMAGENET_STD).double()
    expected = (scaled - mean[:, None, None]) / std[:, None, None]
    views = normalise(images)
    torch.testing.assert_close(views.double(), expected, rtol=0, atol=1e-5)
    assert views.is_contiguous(memory_format=torch.channels_last)


def test_a_workers_rows_are_the_same_views() -> None:
    images, augmentation = noise(64, 16), contrastive_views()
    parameters = augmentation.sample(64, 16, generator())
    whole = augmentation.apply(images, parameters)
    for rows in (slice(16, 40), torch.tensor([3, 63, 0])):
        part = augmentation.apply(images[rows], parameters.rows(rows))
        torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-6)


def test_views_come_from_the_generator_alone() -> None:
    images, augmentation = noise(20, 16), contrastive_views()
    assert torch.equal(augmentation(images, generator(5)), augmentation(images, generator(5)))
    assert not torch.equal(augmentation(images, generator(5)), augmentation(images, generator(6)))


def test_images_are_not_changed() -> None:
    images = noise(20, 16)
    before = images.clone()
    for augmentation in AUGMENTATIONS.values():
        augmentation(images, generator())
    assert torch.equal(images, before)


def test_what_is_off_is_not_drawn() -> None:
    parameters = Augmentation(jitter=0.5, gray=0.0).sample(7, 16, generator())
    assert parameters == ViewParameters(7)


@pytest.mark.parametrize(
    "fields",
    [
        {"crop_scale": (0.0, 1.0)},
        {"crop_scale": (0.9, 0.1)},
        {"crop_scale": (0.1, 1.1)},
        {"crop_scale": (0.1, 1.0), "padding": 4},
        {"crop_ratio": (0.0, 1.0)},
        {"crop_ratio": (0.75, 1.7e308)},  # no integer holds its width
        {"hue": 0.6},
        {"flip": 1.2},
        {"rotation": -1.0},
        {"rotation": 181.0},
        {"brightness": -0.1},
        {"std": (0.1, 0.0, 0.1)},
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Augmentation(**fields)  # type: ignore[arg-type]
