"""Splits against a naive loop over MUC's permutation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import (
    kept_in_training,
    split,
    training_ids,
    validation_ids,
    validation_size,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(20, 200)
validations = st.one_of(st.integers(0, 8), st.floats(0.01, 0.4))
forget_sets = st.one_of(
    st.floats(0.1, 0.9).map(lambda fraction: Random(fraction=fraction)),
    st.integers(1, 8).map(lambda count: Random(count=count)),
    st.just(Classes(classes=(0, 2))),
)


def labels_of(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.int64) % 4


def naive(
    labels: np.ndarray, validation: int | float, forget_set: ForgetSet, seed: int
) -> tuple[Any, ...]:
    order = [int(number) for number in np.random.RandomState(seed).permutation(len(labels))]
    kept_out = validation if isinstance(validation, int) else int(validation * len(labels))
    parts: tuple[list[int], list[int], list[int]] = (order[:kept_out], [], [])
    rest = order[kept_out:]
    if isinstance(forget_set, Random):
        count = forget_set.count or int(forget_set.fraction * len(rest))
        chosen = rest[:count]
    else:
        chosen = [number for number in rest if labels[number] in (0, 2)]
    for number in rest:
        parts[1 if number in chosen else 2].append(number)
    return parts


@given(sizes, validations, forget_sets, seeds)
def test_split_is_the_naive_loop(
    size: int, validation: int | float, forget_set: ForgetSet, seed: int
) -> None:
    labels = labels_of(size)
    parts = split(labels, validation, forget_set, seed)
    expected = naive(labels, validation, forget_set, seed)
    for part, ids in zip((parts.validation, parts.forget, parts.retain), expected, strict=True):
        assert part.dtype == np.int64
        assert part.tolist() == ids


@given(sizes, validations, forget_sets, seeds)
def test_parts_are_disjoint_and_complete(
    size: int, validation: int | float, forget_set: ForgetSet, seed: int
) -> None:
    parts = split(labels_of(size), validation, forget_set, seed)
    everything = np.concatenate((parts.validation, parts.forget, parts.retain))
    assert sorted(everything.tolist()) == list(range(size))


@given(sizes, validations, forget_sets, forget_sets, seeds)
def test_training_does_not_depend_on_what_is_forgotten(
    size: int, validation: int | float, one: ForgetSet, other: ForgetSet, seed: int
) -> None:
    trained_on = training_ids(size, validation, seed)
    kept_out = validation_ids(size, validation, seed)
    for forget_set in (one, other):
        parts = split(labels_of(size), validation, forget_set, seed)
        assert np.array_equal(parts.validation, kept_out)
        assert set(trained_on) == set(parts.forget) | set(parts.retain)
    again = split(labels_of(size), validation, one, seed)
    assert np.array_equal(again.forget, split(labels_of(size), validation, one, seed).forget)


def test_mucs_sizes() -> None:
    parts = split(np.zeros(50_000, dtype=np.int64), 0.1, Random(fraction=0.1), 3)
    assert (len(parts.validation), len(parts.forget), len(parts.retain)) == (5000, 4500, 40_500)
    order = np.random.RandomState(3).permutation(50_000)
    assert np.array_equal(parts.forget, order[5000:9500])


@pytest.mark.parametrize(("validation", "size"), [(0, 0), (7, 7), (0.1, 143), (0.999, 1435)])
def test_validation_size(validation: int | float, size: int) -> None:
    assert validation_size(validation, 1437) == size


def test_validation_must_leave_something() -> None:
    with pytest.raises(DataError, match=r"validation = 1437: leaves nothing to train on.*1,437"):
        validation_size(1437, 1437)


@given(sizes, validations, seeds, st.data())
def test_named_samples_are_all_forgotten_and_others_drawn_in_their_place(
    size: int, validation: int | float, seed: int, data: st.DataObject
) -> None:
    named = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=8))
    forget_set = Ids(file="named.txt")
    forget_set.__dict__["_checked"] = np.array(sorted(named), dtype=np.int64)
    parts = split(labels_of(size), validation, forget_set, seed)
    order = np.random.RandomState(seed).permutation(size).tolist()
    others = [number for number in order if number not in named]
    held_out = validation_size(validation, size)
    assert parts.validation.tolist() == others[:held_out]
    assert parts.forget.tolist() == [number for number in order if number in named]
    assert parts.retain.tolist() == others[held_out:]
    ids = forget_set.named_ids()
    assert validation_ids(size, validation, seed, ids).tolist() == parts.validation.tolist()
    trained_on = sorted([*parts.forget.tolist(), *parts.retain.tolist()])
    assert sorted(training_ids(size, validation, seed, ids).tolist()) == trained_on

    kept = kept_in_training(size, validation, seed, ids)
    usual = order[:held_out]
    assert (not kept) == (parts.validation.tolist() == usual) == (not named & set(usual))
    # Nothing else that was named matters to the validation set.
    least = np.array(kept, dtype=np.int64)
    assert validation_ids(size, validation, seed, least).tolist() == parts.validation.tolist()


def test_a_rule_names_no_ids() -> None:
    assert Random(count=3).named_ids() is None
    assert kept_in_training(100, 0.1, 0, None) == ()
