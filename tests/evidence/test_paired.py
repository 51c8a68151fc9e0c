"""Differences of two kinds of models, against scipy's tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unlearn_ray.core.runs import Run
from unlearn_ray.evidence.paired import difference

NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 3))


def runs(values: list[float]) -> dict[Run, float]:
    return {Run(seed): value for seed, value in enumerate(values)}


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8))
def test_over_shared_seeds_it_is_the_paired_t_interval(pairs: list[tuple[float, float]]) -> None:
    one, other = (list(each) for each in zip(*pairs, strict=True))
    found = difference(runs(one), runs(other))
    assert (found.paired, found.over, found.counts) == (True, "seed", (len(pairs), len(pairs)))
    assert found.value == pytest.approx(np.mean(other) - np.mean(one), abs=1e-9)
    if np.ptp(np.subtract(other, one)) > 1e-6:
        expected = stats.ttest_rel(other, one).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)


@given(st.lists(NUMBERS, min_size=2, max_size=8), st.lists(NUMBERS, min_size=2, max_size=8))
def test_without_shared_runs_it_is_welchs(one: list[float], other: list[float]) -> None:
    apart = {Run(seed + 100): value for seed, value in enumerate(other)}
    found = difference(runs(one), apart)
    assert (found.paired, found.counts) == (False, (len(one), len(other)))
    assert difference(runs(one), runs(other), share_splits=False) == found
    if np.ptp(one) + np.ptp(other) > 1e-6:
        test = stats.ttest_ind(other, one, equal_var=False)
        expected = test.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)


def test_replicates_of_a_seed_are_averaged_first() -> None:
    one = {Run(0, 0): 1.0, Run(0, 1): 3.0, Run(1, 0): 5.0, Run(2, 0): 7.0}
    other = {Run(0, 0): 2.0, Run(0, 1): 6.0, Run(1, 0): 5.0, Run(9, 0): 99.0}
    found = difference(one, other)
    assert found.counts == (2, 2)
    # Seeds 0 and 1 alone are shared: 2 and 4, then 5 and 5.
    assert (found.first, found.second, found.value) == (3.5, 4.5, 1.0)
    expected = stats.ttest_rel([4.0, 5.0], [2.0, 5.0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_with_one_seed_it_is_over_its_replicates() -> None:
    one = {Run(4, number): value for number, value in enumerate([1.0, 2.0, 4.0])}
    other = {Run(4, number): value for number, value in enumerate([3.0, 3.0, 9.0])}
    found = difference(one, other)
    assert (found.over, found.counts, found.paired) == ("replicate", (3, 3), True)
    expected = stats.ttest_rel([3.0, 3.0, 9.0], [1.0, 2.0, 4.0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_one_pair_has_no_interval_and_equal_ones_have_none_either() -> None:
    alone = difference({Run(0): 1.0}, {Run(0): 2.0})
    assert (alone.value, math.isnan(alone.low), math.isnan(alone.high)) == (1.0, True, True)
    several = difference({Run(0): 1.0}, {Run(0): 2.0, Run(1): 3.0}, share_splits=False)
    assert (several.counts, math.isnan(several.low)) == ((1, 2), True)
    same = difference(runs([1.0, 2.0]), runs([1.0, 2.0]))
    assert (same.value, same.low, same.high, same.differs) == (0.0, 0.0, 0.0, False)
    assert difference(runs([1.0, 2.0]), runs([2.0, 1.0])).differs
    assert alone.differs
