"""A SimCLR training step of ResNet-8: this package beside lightly's loss behind PIL.

    OMP_NUM_THREADS=1 python -m benchmarks.training_step

Both run in this process, on one thread, in turns, from the same uint8 images in memory, with the
same network, batch size, distribution of views and optimizer settings:

- ours: `train.training.train_from_scratch`, that is the batched augmentation, channels_last,
  our NT-Xent, fused SGD and the loop's own checks;
- theirs: lightly's SimCLRTransform on PIL images, NCHW, lightly's head and NTXentLoss, SGD.

Before anything is timed, both losses are computed on the same views and weights and compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model, train_from_scratch

# Before lightly, which imports torchvision in its own way.
import unlearn_ray.core.torchvision_import  # noqa: F401  # isort: skip

ROUNDS = 7
STEPS = 4
IMAGE_SIZE = 32
INFO = DatasetInfo(train_size=1, test_size=1, class_names=("any",), image_size=IMAGE_SIZE)
CPU = Compute(torch.device("cpu"))


def synthetic(count: int) -> Tensor:
    """Smooth patterns under noise, uint8, (count, 32, 32, 3)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=IMAGE_SIZE, mode="bilinear")
    noise = torch.rand(smooth.shape, generator=generator)
    return ((0.8 * smooth + 0.2 * noise) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Ours:
    """This package."""

    def __init__(self, images: Tensor, batch_size: int) -> None:
        labels = torch.zeros(len(images), dtype=torch.int64)
        self.data = ResidentData(images, labels, images[:1], labels[:1], 1)
        self.family = SimCLR()
        self.recipe = Recipe(epochs=1, batch_size=batch_size, schedule="constant")
        self.model = new_model(ResNet8(), self.family, INFO, seed=0)

    def steps(self) -> None:
        """One epoch over the images."""
        ids = np.arange(len(self.data.train_images))
        train_from_scratch(
            self.model, self.family, self.recipe, self.data, ids, seed=0, compute=CPU
        )


class Lightly:
    """lightly's parts, put together as its tutorials do, without worker processes."""

    def __init__(self, images: Tensor, batch_size: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead
        from lightly.transforms import SimCLRTransform

        self.images = images.numpy()
        self.batch_size = batch_size
        # Its strengths are 0.8, 0.8, 0.8 and 0.2 times cj_strength: MUC's 0.4, 0.4, 0.4, 0.1.
        self.transform = SimCLRTransform(
            input_size=IMAGE_SIZE, cj_strength=0.5, min_scale=0.1, gaussian_blur=0.0
        )
        backbone = ResNet8().build(32)
        self.model = nn.Sequential(backbone, SimCLRProjectionHead(64, 64, 128))
        self.criterion = NTXentLoss(temperature=0.5)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4
        )

    def steps(self) -> None:
        """One epoch over the images."""
        from PIL import Image

        for rows in np.split(np.arange(len(self.images)), len(self.images) // self.batch_size):
            pairs = [self.transform(Image.fromarray(self.images[row])) for row in rows]
            first, second = (torch.stack(views) for views in zip(*pairs, strict=True))
            loss = self.criterion(self.model(first), self.model(second))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def same_loss(self, ours: Ours) -> None:
        """Fail unless both losses agree on the same views and weights."""
        views = torch.randn(2, 16, 3, IMAGE_SIZE, IMAGE_SIZE)
        family, model = ours.family, new_model(ResNet8(), ours.family, INFO, seed=0)
        head = self.model[1].layers
        for mine, theirs in zip(
            model.backbone.parameters(), self.model[0].parameters(), strict=True
        ):
            theirs.data.copy_(mine)
        for mine, theirs in zip(model.projection.parameters(), head.parameters(), strict=True):
            theirs.data.copy_(mine)
        nobody = torch.zeros(16, dtype=torch.bool)
        batch = Batch(
            (views[0], views[1]), nobody.long(), nobody, torch.Generator(), torch.arange(16)
        )
        theirs = self.criterion(self.model(views[0]), self.model(views[1]))
        torch.testing.assert_close(family.criterion(model, batch), theirs)


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds of this process, which other load does not stretch."""
    started = time.process_time()
    action()
    return time.process_time() - started


def measure(batch_size: int, steps: int, rounds: int) -> None:
    """Print the images per CPU second of both, and the median ratio over rounds."""
    images = synthetic(batch_size * steps)
    ours = Ours(images, batch_size)
    try:
        peer = Lightly(images, batch_size)
    except ImportError as error:
        print(f"lightly: not measured, {error}; install it with: pip install -e .[bench]")
        ours.steps()
        print(f"batch {batch_size}: ours {len(images) / seconds(ours.steps):.0f} images/s")
        return
    peer.same_loss(ours)
    ours.steps()
    peer.steps()
    rates = []
    for _ in range(rounds):
        rates.append((len(images) / seconds(ours.steps), len(images) / seconds(peer.steps)))
    ratios = [mine / theirs for mine, theirs in rates]
    print(
        f"batch {batch_size}: ours {median(r[0] for r in rates):.0f} images/s, "
        f"lightly + PIL {median(r[1] for r in rates):.0f} images/s, "
        f"ratio {median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds)",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure two batch sizes, or those given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step")
    parser.add_argument("batch", type=int, nargs="*", default=[128, 256])
    parser.add_argument("--steps", type=int, default=STEPS, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for batch_size in options.batch:
        measure(batch_size, options.steps, options.rounds)


if __name__ == "__main__":
    main()
