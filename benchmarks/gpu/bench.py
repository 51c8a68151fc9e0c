"""The device, the sizes and the clock that all sections share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unlearn_ray.data.base import DatasetInfo, Split
from unlearn_ray.models.resnet import ResNet18
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

# What a section returns: names of figures, nested, and their values.
Figures = dict[str, Any]

CLASSES = 10


@dataclass(frozen=True)
class Bench:
    """Where and at which size sections measure.

    Attributes:
        compute: the device.
        small: whether the size is one that only shows that everything runs.
    """

    compute: Compute
    small: bool = False

    @classmethod
    def here(cls, small: bool) -> Bench:
        """On this machine's GPU; small benches take its CPU if it has none.

        Raises:
            MachineError: there is no GPU.
        """
        on_cpu = small and not torch.cuda.is_available()
        return cls(Compute.cpu() if on_cpu else Compute.gpu(), small)

    @property
    def batch(self) -> int:
        """Images of a batch of contrastive training: the papers' 512."""
        return 16 if self.small else 512

    @property
    def iterations(self) -> int:
        """Updates that are timed."""
        return 2 if self.small else 40

    @property
    def images(self) -> int:
        """Training images: those of CIFAR-10."""
        return 120 if self.small else 50_000

    @property
    def image_size(self) -> int:
        """Pixels of a side."""
        return 8 if self.small else 32

    @property
    def info(self) -> DatasetInfo:
        """Of the synthetic dataset."""
        names = tuple(map(str, range(CLASSES)))
        return DatasetInfo(self.images, self.images // 5, names, self.image_size)

    @property
    def backbone(self) -> ResNet18:
        """The papers' ResNet-18."""
        return ResNet18(width=4 if self.small else 64)

    @property
    def split(self) -> Split:
        """A tenth for validation and a tenth of the rest to forget, as in the papers' tables."""
        order = np.random.RandomState(0).permutation(self.images)
        held, end = self.images // 10, self.images // 10 + self.images * 9 // 100
        return Split(validation=order[:held], forget=order[held:end], retain=order[end:])

    def data(self, count: int | None = None) -> ResidentData:
        """Images of ten patterns under noise, on the device; by default a whole dataset."""
        generator = torch.Generator().manual_seed(0)
        size = self.image_size
        patterns = torch.rand(CLASSES, 3, 4, 4, generator=generator)
        patterns = torch.nn.functional.interpolate(patterns, size=size, mode="bilinear")
        patterns = patterns.permute(0, 2, 3, 1).mul_(127).to(torch.uint8)

        def drawn(images: int) -> tuple[torch.Tensor, torch.Tensor]:
            labels = torch.randint(CLASSES, (images,), generator=generator)
            shape = (images, size, size, 3)
            noise = torch.randint(128, shape, generator=generator, dtype=torch.uint8)
            device = self.compute.device
            return (patterns[labels] + noise).to(device), labels.to(device)

        images, labels = drawn(self.images if count is None else count)
        test_images, test_labels = drawn(len(labels) // 5)
        return ResidentData(images, labels, test_images, test_labels, CLASSES)

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.compute.on_gpu:
            torch.cuda.synchronize(self.compute.device)

    def seconds(self, action: Callable[[], object]) -> float:
        """Wall seconds of an action, until the device is done with it."""
        self.synchronise()
        started = time.perf_counter()
        action()
        self.synchronise()
        return time.perf_counter() - started

    def an_iteration(self, run: Callable[[int], object]) -> float:
        """Seconds of one iteration, without what a run costs before its first and after its last.

        Args:
            run: runs so many iterations.
        """
        run(self.iterations)  # kernels are chosen and compiled
        short = self.seconds(lambda: run(self.iterations))
        long = self.seconds(lambda: run(3 * self.iterations))
        return (long - short) / (2 * self.iterations)

    def peak_bytes(self, action: Callable[[], object]) -> int:
        """The most bytes that tensors occupied during an action; 0 on a CPU."""
        if not self.compute.on_gpu:
            action()
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.compute.device)
        self.seconds(action)
        return torch.cuda.max_memory_allocated(self.compute.device)
