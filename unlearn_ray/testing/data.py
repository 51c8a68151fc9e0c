"""Checks of every dataset and forget set; only those with a tiny version are loaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.splits import split, training_ids
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny


def dataset_checks(dataset: type[Dataset]) -> Iterator[Check]:
    """The checks of a dataset."""
    # Others may need a download, or a folder that the user names.
    if dataset.tiny:
        yield Check(images_are_what_info_says, dataset)
        yield Check(every_class_has_a_prompt, dataset)


def forget_set_checks(forget_set: type[ForgetSet]) -> Iterator[Check]:
    """The checks of a forget set that its fields' defaults, or `tiny`, define."""
    try:
        tiny(forget_set)
    except ValueError:
        return
    yield Check(selects_some_samples_and_leaves_some, forget_set)


def images_are_what_info_says(part: type[Dataset]) -> None:
    """Shapes, types, labels and captions fit `info`, and loading is deterministic."""
    dataset = tiny(part)
    info, data = dataset.info(), dataset.load(cache_folder())
    known = dataset.known_labels()
    size = (info.image_size, info.image_size, 3)
    for count, images, labels, captions in (
        (info.train_size, data.train_images, data.train_labels, data.train_captions),
        (info.test_size, data.test_images, data.test_labels, data.test_captions),
    ):
        assert images.shape == (count, *size)
        assert images.dtype == np.uint8
        assert labels.shape == (count,)
        assert labels.dtype == np.int64
        assert labels.min() >= 0
        assert labels.max() < max(len(info.class_names), 1)
        assert len(captions) == (count if info.captioned else 0)
        assert all(captions)
    assert known is None or np.array_equal(known, data.train_labels)
    assert np.array_equal(data.train_images, dataset.load(cache_folder()).train_images)


def every_class_has_a_prompt(part: type[Dataset]) -> None:
    """At least one, for models that read captions."""
    dataset = tiny(part)
    assert len(dataset.prompts()) == len(dataset.info().class_names)
    assert all(dataset.prompts())


def selects_some_samples_and_leaves_some(part: type[ForgetSet]) -> None:
    """On digits: deterministic for a seed, and disjoint from the validation set."""
    forget_set, digits = tiny(part), Digits(image_size=8)
    labels = digits.known_labels()
    try:
        forget_set.check(digits.info(), 100)
    except ValueError as refused:
        pytest.skip(f"not for digits: {refused}")
    found = split(labels, 100, forget_set, seed=3)
    assert found.forget.size
    assert found.retain.size
    order = training_ids(len(labels), 100, 3, forget_set.named_ids())
    assert np.array_equal(np.sort(np.concatenate([found.forget, found.retain])), np.sort(order))
    assert np.array_equal(found.forget, split(labels, 100, forget_set, seed=3).forget)
    size = forget_set.size(len(order))
    assert size is None or size == found.forget.size
    if forget_set.whole_classes:
        assert not set(labels[found.forget]) & set(labels[found.retain])
