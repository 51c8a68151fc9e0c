"""Seconds to evaluate one unlearned model: this package beside the protocol of MUC's code.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation

Both run in this process, on one thread, in turns, on the same synthetic 32x32 images, with a
ResNet-8 and the same batched augmentation, so that only the protocol differs:

- ours: every metric of a sweep that names none, the probe on cached features, images in
  channels_last;
- the reference: 100 probe epochs, each running the frozen encoder on the augmented retain set
  and then on all training and test images to validate, in NCHW; EMIA's ten passes over the
  members, the forget set and the test set with its loops over 45 pairs and 501 thresholds; a
  support vector machine on every sample. One probe epoch is measured and counted 100 times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cache
from statistics import median

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.registry import parts
from unlearn_ray.data.augmentation import contrastive_views, normalise, probe_views
from unlearn_ray.data.base import Split
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.quantities.base import SETS
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

TRAIN, CLASSES = 5000, 10
ROUNDS = 3
BATCH = 512
CPU = Compute(torch.device("cpu"))


def synthetic(count: int) -> tuple[ResidentData, Split]:
    """Smooth patterns of ten classes under noise: a tenth for validation, 9 % to forget."""
    validation, end = count // 10, count // 10 + count * 9 // 100
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(CLASSES, 3, 4, 4, generator=generator)
    patterns = functional.interpolate(patterns, size=32, mode="bilinear").permute(0, 2, 3, 1)

    def images(labels: Tensor) -> Tensor:
        noise = torch.rand(len(labels), 32, 32, 3, generator=generator)
        return ((0.5 * patterns[labels] + 0.5 * noise) * 255).to(torch.uint8)

    train = torch.randint(CLASSES, (count,), generator=generator)
    test = torch.randint(CLASSES, (count // 5,), generator=generator)
    order = np.random.RandomState(0).permutation(count)
    split = Split(validation=order[:validation], forget=order[validation:end], retain=order[end:])
    return ResidentData(images(train), train, images(test), test, CLASSES), split


def model(seed: int, memory_format: torch.memory_format) -> nn.Module:
    """An untrained encoder: its features cost what trained ones do."""
    torch.manual_seed(seed)
    holder = nn.Module()
    holder.backbone = ResNet8().build(32).to(memory_format=memory_format)  # type: ignore[call-overload]
    return holder


def ours(data: ResidentData, split: Split) -> dict[str, float]:
    """Every metric of one model; the original's two forget views are part of the time."""

    def observed(seed: int, original: Observed | None) -> Observed:
        inference = Inference(
            model(seed, torch.channels_last),
            data,
            split,
            family=SimCLR(),
            probe=Probe(),
            seed=0,
            compute=CPU,
            make_model=lambda seed: model(seed, torch.channels_last),
        )
        ids = {part: inference.ids(part) for part in SETS}
        labels = {
            part: (data.test_labels if part == "test" else data.train_labels)[of_set]
            for part, of_set in ids.items()
        }
        observe = cache(lambda quantity: quantity.observe(inference))
        return Observed(ids, labels, observe, original=original)

    measured = observed(1, observed(0, None))
    return {
        name: value
        for metric in parts(Metric).values()
        if metric.by_default
        for name, value in metric().measure(measured).values.items()
    }


class Reference:
    """The protocol of MUC's code, in its parts."""

    def __init__(self, data: ResidentData, split: Split) -> None:
        self.data = data
        self.retain, self.forget = torch.from_numpy(split.retain), torch.from_numpy(split.forget)
        self.backbone = model(1, torch.contiguous_format).backbone.eval()
        self.linear = nn.Linear(64, CLASSES)
        self.optimizer = torch.optim.SGD(self.linear.parameters(), lr=1.0, momentum=0.9)
        self.generator = torch.Generator().manual_seed(0)

    def encode(self, images: Tensor, augmentation: Callable[[Tensor], Tensor]) -> Tensor:
        """Features of a batch, in NCHW."""
        with torch.no_grad():
            return self.backbone(augmentation(images).contiguous())

    def probe_epoch(self) -> None:
        """One epoch on the augmented retain set, then validation on every image."""
        views = probe_views()
        order = self.retain[torch.randperm(len(self.retain), generator=self.generator)]
        for ids in order.split(BATCH)[: len(order) // BATCH]:
            features = self.encode(
                self.data.train_images[ids], lambda images: views(images, self.generator)
            )
            loss = functional.cross_entropy(self.linear(features), self.data.train_labels[ids])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        for images in (self.data.train_images, self.data.test_images):
            for batch in images.split(BATCH):
                self.linear(self.encode(batch, normalise)).argmax(1)

    def emia(self) -> None:
        """Ten views of as many members as non-members, and of the forget set; loops as there."""
        views = contrastive_views()
        sets = (
            self.data.train_images[self.retain[: len(self.data.test_images)]],
            self.data.test_images,
            self.data.train_images[self.forget],
        )
        scores = []
        for images in sets:
            features = [
                torch.cat(
                    [
                        self.encode(batch, lambda images: views(images, self.generator))
                        for batch in images.split(BATCH)
                    ]
                )
                for _ in range(10)
            ]
            pairs = [
                functional.cosine_similarity(features[i], features[j])
                for i in range(10)
                for j in range(i)
            ]
            scores.append(torch.stack(pairs).mean(0).numpy())
        members, others, _ = scores
        max(((members >= edge).sum() + (others < edge).sum()) for edge in np.linspace(0, 1, 501))

    def cmia(self) -> None:
        """The support vector machine on every sample."""
        rng, test = np.random.default_rng(0), len(self.data.test_images)
        confidences = np.concatenate([rng.beta(8, 1.5, test), rng.beta(6, 1.6, test)])
        machine = SVC(C=3, gamma="auto", kernel="rbf")
        machine.fit(confidences[:, None], np.repeat([1, 0], test))
        machine.predict(rng.beta(6.5, 1.6, len(self.forget))[:, None])


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds of this process, which other load does not stretch."""
    started = time.process_time()
    action()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns and print the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation")
    parser.add_argument("--images", type=int, default=TRAIN, help="for training; a fifth to test")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data, split = synthetic(options.images)
    reference = Reference(data, split)
    ours(*_small(data, split))  # First calls load sklearn and kernels.
    rows = []
    for number in range(options.rounds):
        mine = seconds(lambda: ours(data, split))
        epoch = seconds(reference.probe_epoch)
        rest = seconds(reference.emia) + seconds(reference.cmia)
        rows.append((mine, epoch, rest, (100 * epoch + rest) / mine))
        print(
            f"round {number + 1}: ours {mine:6.1f} s | reference: probe epoch {epoch:5.2f} s, "
            f"attacks {rest:5.1f} s, 100 epochs + attacks {100 * epoch + rest:7.1f} s (scaled) "
            f"| ratio {rows[-1][3]:5.1f}x"
        )
    ratios = [row[3] for row in rows]
    print(
        f"\nevaluation of one model, {options.images} train / {options.images // 5} test images, "
        f"ResNet-8, one thread: "
        f"{median(ratios):.0f}x the reference protocol "
        f"({min(ratios):.0f} to {max(ratios):.0f} over {options.rounds} rounds; one of its 100 "
        "probe epochs was measured and scaled)"
    )


def _small(data: ResidentData, split: Split) -> tuple[ResidentData, Split]:
    few = Split(validation=split.validation[:0], forget=split.forget[:20], retain=split.retain[:40])
    test = slice(0, 30)
    return (
        ResidentData(
            data.train_images,
            data.train_labels,
            data.test_images[test],
            data.test_labels[test],
            CLASSES,
        ),
        few,
    )


if __name__ == "__main__":
    main()
