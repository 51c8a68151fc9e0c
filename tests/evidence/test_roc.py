"""ROC curves against ones that are counted threshold by threshold and pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.roc import POINTS, Ranking, negatives_needed

few = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


def ranking(positives: list[int], negatives: list[int]) -> Ranking:
    return Ranking(np.array(positives, float), np.array(negatives, float))


def naive_curve(positives: list[int], negatives: list[int]) -> list[tuple[float, float]]:
    points = [(0.0, 0.0)]
    for threshold in sorted({*positives, *negatives}, reverse=True):
        fpr = sum(s >= threshold for s in negatives) / len(negatives)
        tpr = sum(s >= threshold for s in positives) / len(positives)
        points.append((fpr, tpr))
    return points


@given(few, few)
def test_curve_and_area_are_counted_by_hand(positives: list[int], negatives: list[int]) -> None:
    found = ranking(positives, negatives)
    curve = found.roc()
    assert [*zip(curve.fpr, curve.tpr, strict=True)] == naive_curve(positives, negatives)
    assert found.thinned().fpr.tolist() == curve.fpr.tolist()
    halves = sum((p > q) + (p >= q) for p in positives for q in negatives)
    assert found.auc() == halves / (2 * len(positives) * len(negatives))
    np.testing.assert_allclose(np.trapezoid(curve.tpr, curve.fpr), found.auc(), atol=1e-12)


@given(few, st.lists(st.integers(-4, 4), min_size=50, max_size=80), st.floats(0.2, 1))
def test_rates_are_on_the_right_side_of_the_bound(
    positives: list[int], negatives: list[int], bound: float
) -> None:
    allowed = [tpr for fpr, tpr in naive_curve(positives, negatives) if fpr <= bound]
    assert ranking(positives, negatives).tpr_at(bound) == max(allowed)


def test_the_nearest_rate_is_on_the_wrong_side() -> None:
    negatives, positives = [0] * 985 + [1] * 15, [0] * 50 + [1] * 50
    curve = ranking(positives, negatives).roc()
    nearest = curve.tpr[np.argmin(np.abs(curve.fpr - 0.01))]
    assert nearest == 0.5  # at 1.5 %
    assert ranking(positives, negatives).tpr_at(0.01) == 0


def test_a_bound_that_counts_exactly_is_met() -> None:
    # 0.07 * 100 is a little more than 7 in floating point, 0.29 * 100 a little less than 29.
    for bound in (0.07, 0.29):
        for samples in (100, 1000):
            scores = list(range(samples))
            found = ranking(scores, scores)
            if samples >= negatives_needed(bound):
                assert found.tpr_at(bound) == round(bound * samples) / samples


def test_sklearn_agrees() -> None:
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(0.5, size=300).round(1), generator.normal(size=500)
    labels = np.repeat([1, 0], [300, 500])
    scores = np.concatenate([positives, negatives])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = Ranking(positives, negatives)
    np.testing.assert_allclose(found.roc().fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(found.roc().tpr, tpr, atol=1e-12)
    np.testing.assert_allclose(found.auc(), roc_auc_score(labels, scores), atol=1e-12)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_thinned_curve_is_part_of_the_full_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = Ranking(generator.normal(1, size=7_000), generator.normal(size=20_000))
    curve, thin = found.roc(), found.thinned()
    assert POINTS / 2 < len(thin.fpr) <= POINTS
    assert {*zip(thin.fpr, thin.tpr, strict=True)} <= {*zip(curve.fpr, curve.tpr, strict=True)}
    assert (thin.fpr[0], thin.tpr[0], thin.fpr[-1], thin.tpr[-1]) == (0, 0, 1, 1)
    assert abs(np.trapezoid(thin.tpr, thin.fpr) - found.auc()) < 1e-4
    # Points are dense where attacks are compared.
    for rate in (0.001, 0.01, 0.1):
        assert np.abs(thin.fpr - rate).min() < 0.05 * rate


def test_likelier_positives_have_larger_areas() -> None:
    assert ranking([2, 3], [0, 1]).auc() == 1
    assert ranking([0, 1], [2, 3]).auc() == 0
    assert ranking([5] * 9, [5] * 7).auc() == 0.5


@pytest.mark.parametrize(("bound", "needed"), [(0.01, 1_000), (0.001, 10_000), (0.03, 334)])
def test_too_few_negatives_are_refused(bound: float, needed: int) -> None:
    assert negatives_needed(bound) == needed
    ranking([1], [0] * needed).tpr_at(bound)
    with pytest.raises(DataError, match=f"it takes {needed:,}"):
        ranking([1], [0] * (needed - 1)).tpr_at(bound)


def test_what_has_no_curve_is_refused() -> None:
    with pytest.raises(DataError, match="0 negatives"):
        ranking([1], [])
    with pytest.raises(DataError, match="1 of 2 positives: their score is NaN"):
        Ranking(np.array([math.nan, 1]), np.array([1.0]))
