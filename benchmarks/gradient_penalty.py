"""A step with the gradient penalty beside a plain training step: time and peak memory.

    OMP_NUM_THREADS=1 python -m benchmarks.gradient_penalty [BATCH]

ResNet-18 of a quarter of its width (0.7 million parameters), images of 32 pixels, a batch of each
set. A step is loss, backward pass and update; the views are there before. Steps take turns on one
thread in this process, and of each the fastest counts; on a CPU, memory is what a process of its
own takes at its peak beyond what it had before its first step.

Found on one thread of a two-core AVX2 machine under other load, batch 32, times and memory of a
plain step (a pass of both views for SimCLR, 0.17 s and 129 MiB; of one view for a classifier,
0.09 s and 80 MiB):

    penalty               simclr 2.5x, 1.7x    supervised 3.7x, 2.3x
    length                simclr 1.5x, 1.3x    supervised 2.0x, 1.5x
    penalty and length    simclr 3.2x, 2.1x    supervised 4.7x, 2.7x

So the penalty of a batch costs what 2.7 passes of one view do, forward and backward.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unlearn_ray.core.batch import Batch
from unlearn_ray.families.base import Family
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Samples, Task, TrainingMethod
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.methods.gradient_penalty import GradientPenalty
from unlearn_ray.models.resnet import ResNet18
from unlearn_ray.train.compute import Compute

ROUNDS, WARM_UP = 7, 2
IMAGE_SIZE, CLASSES = 32, 10
FAMILIES: dict[str, Family] = {"supervised": Supervised(), "simclr": SimCLR()}
METHODS: dict[str, TrainingMethod] = {
    "plain": Finetune(),
    "penalty": GradientPenalty(),
    "length": GradientPenalty(beta=0, gamma=0.1),
    "penalty and length": GradientPenalty(gamma=0.1),
    "penalty alone": GradientPenalty(alpha=0),
}


class Steps:
    """Training steps of one method, on noise.

    Args:
        family: of `FAMILIES`.
        method: of `METHODS`.
        batch_size: of every set.
    """

    def __init__(self, family: str, method: str, batch_size: int) -> None:
        self.compute = Compute.cpu()
        self.family, self.method = FAMILIES[family], METHODS[method]
        torch.manual_seed(0)
        model = self.family.build(ResNet18(width=16).build(IMAGE_SIZE), CLASSES)
        self.model = self.compute.place(model, 0).train()
        self.batches = [self._batch(batch_size, number) for number in range(3)]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)

    def _batch(self, size: int, number: int) -> Batch:
        def view() -> Tensor:
            images = torch.randn(size, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
            return images.contiguous(memory_format=torch.channels_last)

        device = self.compute.device
        return Batch(
            views=tuple(view() for _ in range(self.family.views)),
            labels=torch.randint(CLASSES, (size,), device=device),
            is_forget=torch.full((size,), number == 1, device=device),
            generator=torch.Generator().manual_seed(number),
            ids=torch.arange(size, device=device),
        )

    def step(self) -> float:
        """One; the CPU seconds of this process, or the device's seconds on a GPU."""
        retain, forget, non_members = self.batches
        reads = "validation" in self.method.extra_data()
        companions = (forget, non_members) if reads else (forget,)
        self._wait()
        clock = time.perf_counter if self.compute.on_gpu else time.process_time
        started = clock()
        self.optimizer.zero_grad(set_to_none=True)
        with self.compute.autocast():
            task = Task(self.family, _NONE)
            loss = self.method.loss(self.model, replace(retain, companions=companions), task)
        loss.backward()
        self.optimizer.step()
        self._wait()
        return clock() - started

    def _wait(self) -> None:
        if self.compute.on_gpu:
            torch.cuda.synchronize()


# None of the methods looks at the task's samples.
_NONE: Samples = None  # type: ignore[assignment]


def peak(family: str, method: str, batch_size: int) -> float:
    """MiB that two steps need at their peak, in a process that has done nothing else."""
    steps = Steps(family, method, batch_size)
    if steps.compute.on_gpu:
        before = torch.cuda.memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    else:
        # Linux: from here on the peak is counted anew.
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        before = _resident_peak()
    for _ in range(2):
        steps.step()
    if steps.compute.on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20 - before
    return _resident_peak() - before


def _resident_peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(family: str, methods: Sequence[str], batch_size: int, rounds: int) -> None:
    """Print what every method's step costs, as a multiple of the plain one's."""
    all_steps = {method: Steps(family, method, batch_size) for method in methods}
    seconds = dict.fromkeys(methods, float("inf"))
    for number in range(WARM_UP + rounds):
        for method, steps in all_steps.items():
            taken = steps.step()
            if number >= WARM_UP:
                seconds[method] = min(seconds[method], taken)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {method: pool.apply(peak, (family, method, batch_size)) for method in methods}
    print(f"{family}, batch {batch_size}, best of {rounds} rounds")
    for method in methods:
        print(
            f"  {method:20} {seconds[method]:8.3f} s {seconds[method] / seconds['plain']:6.2f}x"
            f" {memory[method]:8.0f} MiB {memory[method] / memory['plain']:6.2f}x",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both families at one batch size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient_penalty")
    parser.add_argument("batch", type=int, nargs="?", default=32)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--penalties", nargs="*", choices=METHODS, default=list(METHODS)[1:])
    options = parser.parse_args(arguments)
    for family in options.families:
        measure(family, ["plain", *options.penalties], options.batch, options.rounds)


if __name__ == "__main__":
    main()
