"""MUC's training views: this package beside torchvision, lightly and kornia.

    OMP_NUM_THREADS=1 python -m benchmarks.augmentation

All run in this process, on one thread, in turns, from the same uint8 images in memory to
normalised float32 tensors, with the same settings: RandomResizedCrop(32, scale 0.1 to 1), flip
0.5, ColorJitter(0.4, 0.4, 0.4, 0.1) with probability 0.8, gray 0.2, ImageNet's mean and
deviation. Times are processor seconds; a ratio is taken within each round, so that what slows
the machine slows both sides.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.data.augmentation import IMAGENET_MEAN, IMAGENET_STD, contrastive_views

# isort: split
from torchvision.transforms import transforms as v1
from torchvision.transforms import v2

ROUNDS = 9
BATCH = 512
SIZE = 32
OURS = "unlearn_ray"
Views = Callable[[], Tensor]


def synthetic(count: int) -> Tensor:
    """Smooth patterns under noise, uint8, (count, 32, 32, 3)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")
    noise = torch.rand(smooth.shape, generator=generator)
    return ((0.8 * smooth + 0.2 * noise) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def ours(images: Tensor) -> Views:
    """Drawing and applying, as the engine calls it."""
    augmentation, generator = contrastive_views(), torch.Generator().manual_seed(0)
    return lambda: augmentation(images, generator)


def pillow(images: Tensor) -> list[Any]:
    """The images as PIL images, made before anything is timed."""
    from PIL import Image

    return [Image.fromarray(image) for image in images.numpy()]


def torchvision_pil(images: Tensor) -> Views:
    """The pipeline of MUC's official code, on PIL images."""
    transform = v1.Compose(
        [
            v1.RandomResizedCrop(SIZE, scale=(0.1, 1.0)),
            v1.RandomHorizontalFlip(),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v1.RandomGrayscale(0.2),
            v1.ToTensor(),
            v1.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    samples = pillow(images)
    return lambda: torch.stack([transform(sample) for sample in samples])


def torchvision_v2(images: Tensor) -> Views:
    """torchvision.transforms.v2 on uint8 tensors, sample by sample."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(0.1, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
        ]
    )
    samples = list(images.permute(0, 3, 1, 2).contiguous())
    return lambda: torch.stack([transform(sample) for sample in samples])


def lightly(images: Tensor) -> Views:
    """lightly's SimCLRTransform without blur; it makes two views of each of half the images."""
    transforms = importlib.import_module("lightly.transforms")
    # Its strengths are 0.8, 0.8, 0.8 and 0.2 times cj_strength.
    transform = transforms.SimCLRTransform(
        input_size=SIZE, cj_strength=0.5, min_scale=0.1, gaussian_blur=0.0
    )
    samples = pillow(images[: len(images) // 2])
    return lambda: torch.stack([view for sample in samples for view in transform(sample)])


def kornia(images: Tensor) -> Views:
    """kornia.augmentation, batched; scaling to [0, 1] is part of the work."""
    augment = importlib.import_module("kornia.augmentation")
    transform = augment.AugmentationSequential(
        augment.RandomResizedCrop((SIZE, SIZE), scale=(0.1, 1.0)),
        augment.RandomHorizontalFlip(p=0.5),
        augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augment.RandomGrayscale(p=0.2),
        augment.Normalize(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)),
        data_keys=["input"],
    )
    planes = images.permute(0, 3, 1, 2).contiguous()
    return lambda: transform(planes.float() / 255)


def seconds(views: Views, batch: int) -> float:
    """Processor seconds of one batch of so many views."""
    start = time.process_time()
    result = views()
    spent = time.process_time() - start
    assert result.shape == (batch, 3, SIZE, SIZE)
    assert result.dtype == torch.float32
    return spent


def contenders(images: Tensor) -> dict[str, Views]:
    """Ours and every peer that is installed; the others are named."""
    found = {OURS: ours(images)}
    peers = {
        "torchvision (PIL)": torchvision_pil,
        "torchvision v2": torchvision_v2,
        "lightly": lightly,
        "kornia": kornia,
    }
    for name, make in peers.items():
        try:
            found[name] = make(images)
        except ModuleNotFoundError as missing:
            print(f"{name}: not measured, {missing.name} is missing (pip install -e .[bench])")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print views per second and, against each peer, the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    batch, rounds = options.batch, options.rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    everyone = contenders(synthetic(batch))
    for views in everyone.values():
        views()
    times: dict[str, list[float]] = {name: [] for name in everyone}
    for _ in range(rounds):
        for name, views in everyone.items():
            times[name].append(seconds(views, batch))
    print(f"{batch} images of {SIZE} x {SIZE}, one thread, {rounds} rounds in turns")
    for name, spent in times.items():
        ratios = [theirs / own for theirs, own in zip(spent, times[OURS], strict=True)]
        print(
            f"{name:18} {batch / median(spent):8,.0f} views/s   ours is "
            f"{median(ratios):5.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
