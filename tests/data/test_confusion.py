"""Interclass confusion: which labels are swapped, against a naive loop."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.confusion import Confusion
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import forget_size, split, training_ids, training_labels

INFO = DatasetInfo(90, 9, ("cat", "dog", "frog"), 8)
sizes = st.integers(60, 200)
seeds = st.integers(0, 2**32 - 1)
amounts: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.integers(1, 4).map(lambda count: {"count": count}),
    st.floats(0.3, 0.8).map(lambda fraction: {"fraction": fraction}),
)
pairs = st.sampled_from([(0, 1), (1, 0), (2, 3), (3, 0)])


def labels_of(size: int, seed: int) -> np.ndarray:
    """Classes 0 to 3 in any order, none of them rare."""
    return np.random.default_rng(seed).permutation(np.arange(size, dtype=np.int64) % 4)


@given(sizes, st.integers(0, 8), pairs, amounts, seeds)
def test_labels_are_swapped_as_by_a_loop(
    size: int, validation: int, classes: tuple[int, int], amount: dict[str, Any], seed: int
) -> None:
    labels = labels_of(size, seed)
    forget_set = Confusion(classes=classes, **amount)
    parts = split(labels, validation, forget_set, seed)
    given_labels = training_labels(labels, validation, forget_set, seed)
    order = [int(sample) for sample in training_ids(size, validation, seed)]
    expected, forgotten = labels.tolist(), set()
    for label, other in (classes, classes[::-1]):
        of_class = [sample for sample in order if labels[sample] == label]
        count = amount.get("count") or int(amount["fraction"] * len(of_class))
        for sample in of_class[:count]:
            expected[sample] = other
            forgotten.add(sample)
    assert given_labels.tolist() == expected
    assert parts.forget.tolist() == [sample for sample in order if sample in forgotten]
    # What is retained, held out or of other classes keeps its true label.
    kept = np.concatenate([parts.retain, parts.validation])
    assert np.array_equal(given_labels[kept], labels[kept])
    assert sorted(np.concatenate([kept, parts.forget]).tolist()) == list(range(size))
    # Both true labels are left, and the argument is not changed.
    assert set(classes) <= set(labels[parts.retain].tolist())
    assert np.array_equal(labels, labels_of(size, seed))
    size_known = forget_size(forget_set, size, validation)
    assert size_known is None or size_known == len(parts.forget)


@pytest.mark.parametrize("forget_set", [Random(count=3), Classes(classes=(1,))])
def test_other_forget_sets_leave_the_labels(forget_set: Random | Classes) -> None:
    labels = labels_of(60, 0)
    assert not forget_set.relabels
    assert training_labels(labels, 3, forget_set, 0) is labels


def test_its_name_is_which_labels_and_how_many() -> None:
    assert Confusion(classes=(0, 2), count=3).relabels
    by_name = Confusion(classes=("frog", "cat"), count=3)
    with pytest.raises(DataError, match="check"):
        content_key(by_name)
    by_name.check(INFO, 3)
    assert content_key(by_name) == content_key(Confusion(classes=(0, 2), count=3))
    others = [
        Confusion(classes=(0, 1), count=3),
        Confusion(classes=(0, 2), count=4),
        Confusion(classes=(0, 2), fraction=0.5),
        Classes(classes=(0, 2)),
    ]
    assert len({content_key(one) for one in (by_name, *others)}) == 5
    travelled = pickle.loads(pickle.dumps(by_name))
    labels = np.arange(90, dtype=np.int64) % 3
    order = np.arange(90)
    assert travelled.select(order, labels).tolist() == [0, 2, 3, 5, 6, 8]
    assert travelled.training_labels(order, labels)[[0, 2, 1, 9]].tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ({"count": 30}, "leaves no true label 0: 30 samples of it are trained on"),
        ({"fraction": 0.01}, "is less than one of the 30 samples of label 0"),
    ],
)
def test_a_class_is_neither_used_up_nor_left_out(amount: dict[str, Any], reason: str) -> None:
    labels = np.arange(90, dtype=np.int64) % 3
    with pytest.raises(DataError, match=reason):
        split(labels, 0, Confusion(classes=(0, 2), **amount), 0)


def test_a_count_or_a_fraction() -> None:
    with pytest.raises(ValueError, match="give count or fraction, one of both"):
        Confusion(classes=(0, 1))
    with pytest.raises(ValueError, match="give count or fraction, one of both"):
        Confusion(classes=(0, 1), count=3, fraction=0.5)
