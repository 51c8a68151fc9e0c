"""Confidence against sums of exponentials by hand, and where those overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.confidence import confidence, correct


def naive(logits: list[float], label: int) -> float:
    p = [math.exp(each) for each in logits]
    return math.log(p[label]) - math.log(math.fsum(p) - p[label])


def test_it_is_the_log_odds_of_the_true_class() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50, 7))
    labels = generator.integers(7, size=50)
    expected = [naive(row, label) for row, label in zip(logits.tolist(), labels, strict=True)]
    np.testing.assert_allclose(confidence(logits, labels), expected, rtol=1e-12)


@given(st.lists(st.floats(-6e4, 6e4, width=16), min_size=2, max_size=2))
def test_of_two_classes_it_is_their_difference_however_saturated(pair: list[float]) -> None:
    logits = np.array([pair, pair], np.float16)
    difference = float(logits[0, 0]) - float(logits[0, 1])
    assert confidence(logits, np.array([0, 1])).tolist() == [difference, -difference]


def test_saturated_logits_are_told_apart_where_clipped_probabilities_are_not() -> None:
    logits = np.array([[20.0, 0, 0], [40, 0, 0], [800, 0, 0], [-800, 0, 0]], np.float32)
    labels = np.zeros(4, np.int64)
    found = confidence(logits, labels)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [s - math.log(2) for s in (20, 40, 800, -800)], rtol=1e-15)

    # The faulty form.
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = np.clip((p / p.sum(axis=1, keepdims=True))[:, 0], 1e-6, 1 - 1e-6)
    clipped = np.log(p) - np.log1p(-p)
    assert clipped[0] == clipped[1] == clipped[2]
    np.testing.assert_allclose(clipped[2], 13.8, atol=0.05)


def test_the_logits_are_left_alone() -> None:
    logits = np.array([[1.0, 2.0]])
    confidence(logits, np.array([0]))
    assert logits.tolist() == [[1.0, 2.0]]


def test_the_first_of_equally_likely_classes_is_predicted() -> None:
    logits = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    assert correct(logits, np.array([0, 1, 1])).tolist() == [True, False, True]


@pytest.mark.parametrize("of", [confidence, correct])
@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        ([[1.0]], 0, "logits of 1 classes: have no other class"),
        ([[1.0, 2.0]], 2, "label 2: is none of the 2 classes"),
        ([[1.0, 2.0]], -1, "label -1: is none of the 2 classes"),
        ([[1.0, math.inf]], 0, "logits: 1 are not finite"),
    ],
)
def test_what_has_no_confidence_is_refused(of, logits, label, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        of(np.array(logits), np.array([label]))
