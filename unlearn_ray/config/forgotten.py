"""What a sweep will forget, for a person to check before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from unlearn_ray.data.base import Dataset
from unlearn_ray.data.sample_names import SampleNames
from unlearn_ray.data.splits import split, training_ids
from unlearn_ray.steps.setting import Setting

# How many samples are shown.
_FIRST = 5


@dataclass(frozen=True)
class ForgottenClass:
    """A class that the sweep file names.

    Attributes:
        label, name: of the class.
        counts: how many of its samples are forgotten, by seed; empty if labels are unknown.
    """

    label: int
    name: str
    counts: dict[int, int]


@dataclass(frozen=True)
class Forgotten:
    """What a forget set selects from a dataset.

    Attributes:
        classes: those that the sweep file names.
        whole_classes: whether all their samples are forgotten.
        note: what else the forget set says of them.
        named: how many samples the file names one by one; None if none.
        by_class: how many of these each class has, by its name; empty if labels are unknown.
        trained_on: how many samples the original is trained on.
        counts: how many of these are forgotten, by seed; empty if labels are unknown, as the
            dataset has not been decoded on this machine yet.
        first_seed: the seed whose first samples are shown.
        first: the first few samples forgotten under it, as a sweep file names them.
    """

    classes: tuple[ForgottenClass, ...]
    whole_classes: bool
    note: str | None
    named: int | None
    by_class: dict[str, int]
    trained_on: int
    counts: dict[int, int]
    first_seed: int
    first: tuple[str, ...]


def forgotten(setting: Setting, seeds: Sequence[int]) -> Forgotten:
    """What is known of the forget set without decoding the dataset.

    Raises:
        DataError: a seed has nothing to forget or retain.
    """
    info, forget_set, validation = setting.dataset.info(), setting.forget_set, setting.validation
    size = info.train_size
    labels = _labels(setting, size)
    named = forget_set.named_ids()
    parts = {}
    if labels is not None:
        parts = {seed: split(labels, validation, forget_set, seed).forget for seed in seeds}
    names = SampleNames(info)
    return Forgotten(
        classes=tuple(
            ForgottenClass(
                label,
                info.class_names[label],
                {seed: int((labels[ids] == label).sum()) for seed, ids in parts.items()}
                if labels is not None
                else {},
            )
            for label in forget_set.named_classes()
        ),
        whole_classes=forget_set.whole_classes,
        note=forget_set.note(),
        named=None if named is None else len(named),
        by_class={} if named is None else _by_class(setting.dataset, info.class_names, named),
        trained_on=len(training_ids(size, validation, seeds[0])),
        counts={seed: len(ids) for seed, ids in parts.items()},
        first_seed=seeds[0],
        first=tuple(names.described(sample) for sample in parts[seeds[0]][:_FIRST].tolist())
        if parts
        else (),
    )


def _by_class(
    dataset: Dataset, class_names: Sequence[str], named: Int64[np.ndarray, " k"]
) -> dict[str, int]:
    labels = dataset.known_labels()
    if labels is None or not class_names:
        return {}
    counts = np.bincount(labels[named], minlength=len(class_names)).tolist()
    return {name: count for name, count in zip(class_names, counts, strict=True) if count}


def _labels(setting: Setting, size: int) -> Int64[np.ndarray, " train"] | None:
    if setting.forget_set.reads_labels:
        return setting.dataset.known_labels()
    return np.zeros(size, dtype=np.int64)
