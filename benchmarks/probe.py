"""The linear probe's features and its loop: accuracy and CPU seconds, side by side.

    OMP_NUM_THREADS=1 python -m benchmarks.probe --images FOLDER

FOLDER holds train/CLASS/*.jpg and test/CLASS/*.jpg, of 32x32 pixels; without it, scikit-learn's
digits at 32x32. For each seed an encoder (SimCLR, ResNet-8) is pretrained, 9 % of the images are
to be forgotten, and probes with all kinds of features are trained on the rest, in turns, on one
thread:

- exact: `features: augmented`, the paper's: views of every image in every epoch;
- K views: `features: cached_views, copies: K`;
- plain: `features: cached`; its loop is also timed as it was, by autograd.

Differences are in points of accuracy, from the exact probe of the same encoder. A second exact
probe, with other views, order and initial weights, shows how far two of them differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.base import Dataset, Split
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.image_folder import ImageFolder
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.loaded import load
from unlearn_ray.data.splits import split
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.quantities.base import SetName
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model, train_from_scratch

COPIES = (1, 4, 10, 20)
PARTS: tuple[SetName, ...] = ("retain", "test", "forget")
FAMILY = SimCLR()


class Measured:
    """Probes of one encoder.

    Args:
        dataset: of the images.
        seed: of encoder and split.
        epochs: of the encoder's training, and of the probes'.
    """

    def __init__(self, dataset: Dataset, seed: int, epochs: tuple[int, int]) -> None:
        self.compute = Compute.cpu()
        info, images = dataset.info(), load(dataset, cache_folder())
        self.data = ResidentData.load(images, len(info.class_names), FAMILY, self.compute.device)
        self.split: Split = split(images.train_labels, 0.1, Random(fraction=0.09), seed)
        self.seed, self.epochs = seed, epochs[1]
        self.model = new_model(ResNet8(), FAMILY, info, seed)
        train_from_scratch(
            self.model,
            FAMILY,
            Recipe(epochs=epochs[0], batch_size=256, learning_rate=0.12),
            self.data,
            np.concatenate([self.split.forget, self.split.retain]),
            seed=seed,
            compute=self.compute,
        )

    def accuracies(self, views: int, **probe: Any) -> tuple[float, dict[SetName, float]]:
        """CPU seconds to train a probe, features included, and its accuracies in percent."""
        inference = self.inference(views, **probe)
        inference.features("retain")  # which every kind of probe needs
        started = time.process_time()
        inference.logits("retain")
        seconds = time.process_time() - started
        return seconds, {part: accuracy(inference, part) for part in PARTS}

    def inference(self, seed: int, **probe: Any) -> Inference:
        """Inference with a fresh probe of this seed."""
        return Inference(
            self.model,
            self.data,
            self.split,
            family=FAMILY,
            probe=Probe(epochs=self.epochs, **probe),
            seed=seed,
            compute=self.compute,
            make_model=lambda _: nn.Module(),
        )

    def loops(self) -> tuple[float, float, bool]:
        """CPU seconds of the plain probe's loop in closed form and by autograd, and whether the
        weights are equal bit for bit.
        """
        inference = self.inference(self.seed)
        features, labels = inference.features("retain"), inference.labels("retain")

        def train(inputs: Any) -> nn.Linear:
            return train_probe(
                Probe(epochs=self.epochs), inputs, labels,
                feature_size=features.shape[1], num_classes=self.data.num_classes,
                seed=self.seed, compute=self.compute,
            )  # fmt: skip

        (ours, mine), (theirs, autograd) = (
            timed(lambda: train(features[None])),
            timed(lambda: train(lambda iteration: features[iteration.rows])),
        )
        return ours, theirs, torch.equal(mine.weight, autograd.weight)


def accuracy(inference: Inference, part: SetName) -> float:
    """Of the probe on a set, in percent."""
    right: Tensor = inference.logits(part).argmax(dim=1) == inference.labels(part)
    return 100 * float(right.double().mean())


def timed(action: Callable[[], nn.Linear]) -> tuple[float, nn.Linear]:
    """CPU seconds of an action, and what it returns."""
    started = time.process_time()
    found = action()
    return time.process_time() - started, found


def kinds(copies: Sequence[int], seed: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, seed and fields of every probe; the exact one first."""
    yield "exact", seed, {"features": "augmented"}
    yield "exact again", seed + 1000, {"features": "augmented"}
    for number in copies:
        yield f"{number} views", seed, {"features": "cached_views", "copies": number}
    yield "plain", seed, {"features": "cached"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe")
    parser.add_argument("--images", type=Path, help="a folder with train/ and test/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, nargs="+", default=COPIES)
    parser.add_argument("--epochs", type=int, default=100, help="of the probe")
    parser.add_argument("--pretraining", type=int, default=8, help="epochs of the encoder")
    options = parser.parse_args(arguments)
    dataset: Dataset = (
        Digits(image_size=32)
        if options.images is None
        else ImageFolder(path=str(options.images), image_size=32)
    )
    seconds: dict[str, list[float]] = {}
    off: dict[str, dict[SetName, list[float]]] = {}
    for seed in range(options.seeds):
        measured = Measured(dataset, seed, (options.pretraining, options.epochs))
        ours, theirs, equal = measured.loops()
        print(
            f"seed {seed}: {len(measured.split.retain)} retain images; plain loop {ours:.2f} s, "
            f"by autograd {theirs:.2f} s, weights {'equal' if equal else 'NOT equal'}"
        )
        exact: dict[SetName, float] = {}
        for name, views, fields in kinds(options.copies, seed):
            took, found = measured.accuracies(views, **fields)
            exact = exact or found
            seconds.setdefault(name, []).append(took)
            differences = off.setdefault(name, {part: [] for part in PARTS})
            for part in PARTS:
                differences[part].append(found[part] - exact[part])
            shown = ", ".join(f"{part} {found[part]:5.2f}" for part in PARTS)
            print(f"  {name:12s} {took:7.2f} s  {shown}", flush=True)
    print("\nmean (largest) difference from exact over seeds, in points; CPU seconds")
    for name, by_part in off.items():
        shown = ", ".join(
            f"{part} {fmean(values):+5.2f} ({max(values, key=abs):+5.2f})"
            for part, values in by_part.items()
        )
        print(f"  {name:12s} {fmean(seconds[name]):7.2f} s  {shown}")


if __name__ == "__main__":
    main()
