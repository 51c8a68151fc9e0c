"""What the cases share: some digits, a small model, and computing on either device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tests.restarts import Kept
from tests.shadow.ledger import WAITS, Kind, Ledger, Line, shown
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.data.base import ForgetSet, ImageData, Split
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import split
from unlearn_ray.families.base import Family
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet import ResNet18
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model

TRAIN, TEST, VALIDATION = 192, 40, 32
INFO = Digits(image_size=8).info()
# It launches as much as any other ResNet-18.
DEEP, SHALLOW = ResNet18(width=2), tiny(ResNet8)
FORGET_SETS: tuple[ForgetSet, ...] = (Random(count=64), Classes(classes=(5,)))


Name = TypeVar("Name", bound=str)


class Exact(Compute):
    """Without autocast: values then differ from the CPU's by rounding alone."""

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext()


def on_cpu() -> Compute:
    return Exact.cpu()


def on_device(*, exact: bool = False) -> Compute:
    return (Exact if exact else Compute).gpu()


@cache
def _images(captioned: bool) -> tuple[ImageData, Any]:
    dataset = CaptionedDigits(image_size=8) if captioned else Digits(image_size=8)
    data = dataset.load(cache_folder())
    few = ImageData(
        data.train_images[:TRAIN], data.train_labels[:TRAIN],
        data.test_images[:TEST], data.test_labels[:TEST],
        data.train_captions[:TRAIN], data.test_captions[:TEST],
    )  # fmt: skip
    return few, dataset.prompts() if captioned else ()


def resident(family: Family, compute: Compute) -> ResidentData:
    """The digits as the product loads them to a device."""
    data, prompts = _images(family.reads_captions)
    return ResidentData.load(data, 10, family, compute.device, prompts)


def parts_of(forget_set: ForgetSet) -> Split:
    """The sets of seed 0."""
    return split(_images(False)[0].train_labels, VALIDATION, forget_set, seed=0)


def maker(family: Family, model: Model = SHALLOW) -> Callable[[int], nn.Module]:
    """Makes models of a family, on the CPU."""
    return lambda seed: new_model(model, family, INFO, seed)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def apart(found: Mapping[Name, Tensor], expected: Mapping[Name, Tensor]) -> float:
    """The largest difference of two sets of tensors, each relative to the tensor's own size."""
    assert list(found) == list(expected)
    return max((_apart(found[name], expected[name]) for name in found), default=0.0)


def _apart(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    if found.numel() == 0:
        return 0.0
    scale = max(float(expected.double().abs().max()), 1e-3)
    difference = float((found.double() - expected.double()).abs().max())
    return difference / scale if difference == difference else float("inf")


def strayed(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> float:
    """How far apart two runs end, relative to how far they went."""
    assert list(found) == list(expected) == list(before)
    return distance(found, expected) / distance(expected, before)


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The Euclidean distance of two sets of tensors."""
    squares = (first[name].double() - second[name].double() for name in first)
    return math.sqrt(sum(float(each.square().sum()) for each in squares))


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal, bit for bit."""
    return list(found) == list(expected) and all(
        torch.equal(found[name], expected[name]) for name in found
    )


class Second(Kept):
    """Keeps a checkpoint of every iteration, and the second one apart."""

    def __init__(self) -> None:
        super().__init__()
        self.second: tuple[dict[str, Tensor], dict[str, str]] | None = None

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        super().save(iteration, tensors, metadata)
        if len(self.iterations) == 2:
            self.second = self.last


def resumed(train: Callable[[Checkpoints], Mapping[str, Tensor]]) -> bool | None:
    """Whether a run that goes on from its second checkpoint ends with the same weights.

    None if it saves no second one.
    """
    kept = Second()
    whole = train(kept)
    if kept.second is None:
        return None
    return same(train(Kept(seconds_between=1e6, last=kept.second)), whole)


@dataclass
class PerIteration:
    """What an iteration costs: the difference of a longer and a shorter run, by their iterations.

    What both runs do, such as preparing, does not count.

    Attributes:
        longer, shorter: iterations.
        more, less: what these runs counted.
    """

    longer: int
    shorter: int
    more: Ledger
    less: Ledger

    def report(self) -> dict[str, Any]:
        """As JSON."""
        kinds: tuple[Kind, ...] = ("launch", "pinned", *WAITS)
        counts = {kind: self._each(self.more.total(kind), self.less.total(kind)) for kind in kinds}
        # Half of the images in every iteration: the difference of bytes would be 0.
        return {
            "counts": {**counts, "pinned bytes": self.less.bytes["pinned"] / self.shorter},
            "waits": self.waits,
            "launching": self._launching(),
        }

    @property
    def waits(self) -> list[str]:
        """Lines on which every iteration waits for the device, or may wait."""
        return [
            f"{self._of(kind, line):g} {kind} an iteration at {shown(line)}"
            for kind, line in self.more.counts
            if kind in WAITS and self._of(kind, line)
        ]

    def _launching(self) -> list[str]:
        """The lines that launch most."""
        lines = [line for kind, line in self.more.counts if kind == "launch"]
        lines.sort(key=lambda line: -self._of("launch", line))
        return [f"{self._of('launch', line):g} at {shown(line)}" for line in lines[:8]]

    def _of(self, kind: Kind, line: Line) -> float:
        return self._each(self.more.counts[kind, line], self.less.counts[kind, line])

    def _each(self, more: int, less: int) -> float:
        return (more - less) / (self.longer - self.shorter)
