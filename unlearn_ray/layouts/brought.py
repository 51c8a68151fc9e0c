"""Models that a person brings: where their weights are, and what was found there when planning.

A path may hold `{seed}` and `{replicate}`, for one model of each. Keys cover the weights in our own
layout, whatever file they came from, and never a path. They are computed when a sweep is planned
(`Checkpoint.plan`), and sent along to any machine.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from unlearn_ray.core.errors import BadInput, ConfigError, DataError, did_you_mean, shown
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.data.augmentation import IMAGENET_MEAN, IMAGENET_STD
from unlearn_ray.families.clip import MEAN, STD
from unlearn_ray.layouts.checkpoint import tensors
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.layouts.misfit import WeightsMisfit
from unlearn_ray.layouts.reading import Layout, weights

Role = Literal["original", "retrained"]
# Reads the bytes at a path or URL.
Read = Callable[[str], bytes]
# Seed and replicate.
Run = tuple[int, int]
Rgb = tuple[float, float, float]

_SECONDS = "seconds"
_PLACES = ("seed", "replicate")


@schema
class Normalisation:
    """Mean and standard deviation of each channel in [0, 1]."""

    mean: Rgb
    std: Rgb

    @model_validator(mode="after")
    def _positive(self) -> Normalisation:
        if min(self.std) <= 0:
            raise ValueError("std must be positive in every channel")
        return self


NormalisationName = Literal["imagenet", "clip", "cifar10", "cifar100", "half", "none"]
NORMALISATIONS: dict[NormalisationName, Normalisation] = {
    "imagenet": Normalisation(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "clip": Normalisation(mean=MEAN, std=STD),
    "cifar10": Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": Normalisation(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    "half": Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "none": Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
}


@dataclass(frozen=True)
class Planned:
    """What a checkpoint held when the sweep was planned.

    Attributes:
        digest: of its weights in our layout.
        seconds: compute seconds that making it took, from a safetensors file's metadata.
        scored: whether the scores of trials depend on it: it is of a tuning seed.
    """

    digest: str
    seconds: float | None
    scored: bool


def _with_known_places(path: str) -> str:
    for name in re.findall(r"\{([^{}]*)\}", path):
        if name not in _PLACES:
            raise ValueError(f"{{{shown(name)}}} is unknown; {did_you_mean(name, _PLACES)}")
    return path


@schema
class Checkpoint:
    """Weights that other code has made.

    Attributes:
        checkpoint: a path or s3://bucket/key; `{seed}` and `{replicate}` in it stand for the
            run's. A safetensors file, or one saved by `torch.save`, which is read without
            unpickling.
        layout: of the names of its weights.
        classes: names of the classes in the order of its logits, if that is not the dataset's.
    """

    checkpoint: Annotated[str, Field(min_length=1), AfterValidator(_with_known_places)]
    layout: Layout = "auto"
    classes: tuple[int | str, ...] = ()

    @cached_property
    def planned(self) -> dict[Run, Planned]:
        """What was found when the sweep was planned; see `own_run`."""
        return {}

    def names(self, place: Literal["seed", "replicate"]) -> bool:
        """Whether there is a file for each seed, or each replicate."""
        return f"{{{place}}}" in self.checkpoint

    def own_run(self, seed: int, replicate: int) -> Run:
        """The run that stands for all those with the same file."""
        return (seed if self.names("seed") else 0, replicate if self.names("replicate") else 0)

    def path(self, seed: int, replicate: int) -> str:
        """The file of a run."""
        filled = self.checkpoint.replace("{seed}", str(seed))
        return filled.replace("{replicate}", str(replicate))

    def of_run(self, seed: int, replicate: int) -> Planned:
        """What was found in the file of a run.

        Raises:
            ConfigError: it was not planned.
        """
        found = self.planned.get(self.own_run(seed, replicate))
        if found is None:
            raise self._unread(f"for seed {seed}, replicate {replicate}")
        return found

    def plan(self, ours: Ours, runs: Iterable[Run], tuning: Iterable[int], read: Read) -> None:
        """Read the files of all runs, and keep what identifies their weights.

        Args:
            ours: the model that they must fit.
            runs: all seeds and replicates.
            tuning: the tuning seeds.
            read: reads the bytes of a file.

        Raises:
            BadInput: a file is missing or unreadable, or does not fit.
        """
        scored = set(tuning)
        for seed, replicate in runs:
            run = self.own_run(seed, replicate)
            if run not in self.planned:
                state, seconds = self._read(ours, seed, replicate, read)
                of_scores = not self.names("seed") or seed in scored
                self.planned[run] = Planned(digest(state), seconds, of_scores)

    def load(self, ours: Ours, seed: int, replicate: int, read: Read) -> dict[str, Tensor]:
        """The weights of a run in our layout: those that the sweep was planned with.

        Raises:
            BadInput: the file is missing or unreadable, or has changed.
        """
        state, _ = self._read(ours, seed, replicate, read)
        if digest(state) != self.of_run(seed, replicate).digest:
            raise DataError(
                f"checkpoint {shown(self.path(seed, replicate), 200)}",
                "does not have the weights that the sweep was planned with",
                "put that file there, or start the sweep again",
            )
        return state

    def identity(self) -> dict[str, Any]:
        """What scores depend on: the weights of all tuning seeds."""
        if not self.planned:
            raise self._unread("for any seed")
        every = [each for _, each in sorted(self.planned.items())]
        scored = [each for each in every if each.scored]
        # Without tuning seeds, a study is its reports.
        return {"weights": [each.digest for each in scored or every]}

    def _unread(self, which: str) -> ConfigError:
        return ConfigError(
            f"checkpoint = {shown(self.checkpoint, 200)}",
            f"was not read {which}",
            "load the sweep from its file, which reads the checkpoints of all seeds",
        )

    def _read(
        self, ours: Ours, seed: int, replicate: int, read: Read
    ) -> tuple[dict[str, Tensor], float | None]:
        path = self.path(seed, replicate)
        found = tensors(read(path), path)
        try:
            state = weights(found.values, ours, self.layout, tuple(map(str, self.classes)))
        except WeightsMisfit as error:
            raise error.at(f"checkpoint {shown(path, 200)}") from None
        except ConfigError as error:
            subject = f"checkpoint {shown(path, 200)}: {error.subject}"
            raise ConfigError(subject, error.reason, error.remedy) from None
        return state, _seconds(found.metadata, path)


@schema
class Original(Checkpoint):
    """A trained model in place of pretraining.

    Attributes:
        normalise: what its images were normalised by: a name, or {mean, std} of each channel; null
            is the family's `augmentation`, whose mean and std this field sets.
        expect: its test accuracy, as a share; the sweep ends before any trial if it is another.
        tolerance: largest difference from `expect`.
    """

    normalise: NormalisationName | Normalisation | None = None
    expect: UnitInterval | None = None
    tolerance: UnitInterval = 0.005

    @property
    def normalisation(self) -> Normalisation | None:
        """The mean and the standard deviation, if they are given."""
        given = self.normalise
        return NORMALISATIONS[given] if isinstance(given, str) else given


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _seconds(metadata: Mapping[str, str], path: str) -> float | None:
    text = metadata.get(_SECONDS)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadInput(
            f"checkpoint {shown(path, 200)}",
            f"its metadata's {_SECONDS} are {shown(text)}, which is no time",
            "write a number of seconds as text",
        )
    return seconds
