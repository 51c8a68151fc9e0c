"""Variance components against balanced formulas and simulations, and what they say is needed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unlearn_ray.evidence.populations import excess_gap
from unlearn_ray.evidence.variance import (
    Components,
    detectable_gap,
    gap_of_shift,
    half_width,
    replicates_for,
    splits_for,
    variance_components,
)

Nested = dict[int, dict[int, np.ndarray]]
NAN = math.nan


def nested(
    generator: np.random.Generator, deviations: tuple[float, float, float], counts: list[list[int]]
) -> Nested:
    values: Nested = {}
    for split, unlearnings in enumerate(counts):
        of_split = 70 + generator.normal(0, deviations[0])
        values[split] = {
            training: of_split
            + generator.normal(0, deviations[1])
            + generator.normal(0, deviations[2], count)
            for training, count in enumerate(unlearnings)
        }
    return values


def test_balanced_components_are_those_of_loops() -> None:
    values = nested(np.random.default_rng(1), (3, 2, 1), [[4, 4, 4]] * 5)
    within, models, splits = [], [], []
    for of_split in values.values():
        means = [float(np.mean(each)) for each in of_split.values()]
        within += [float(np.var(each, ddof=1)) for each in of_split.values()]
        models.append(float(np.var(means, ddof=1)))
        splits.append(sum(means) / 3)
    unlearning = sum(within) / 15
    training = sum(models) / 5 - unlearning / 4
    split = float(np.var(splits, ddof=1)) - sum(models) / 5 / 3
    found = variance_components(values)
    assert found.unlearning == pytest.approx(unlearning)
    assert found.training == pytest.approx(training)
    assert found.split == pytest.approx(split)
    assert found.negative == ()
    assert found.within_split == pytest.approx(training + unlearning)


@pytest.mark.parametrize(
    "counts", [[[3, 3], [3, 3], [3, 3]], [[1, 4], [2, 2, 5], [3], [1, 1, 1, 2]]]
)
def test_they_are_unbiased_also_for_unequal_numbers(counts: list[list[int]]) -> None:
    generator = np.random.default_rng(2)
    found = np.array(
        [
            [c.split, c.training, c.unlearning]
            for _ in range(1500)
            # So large between splits and models that hardly any estimate is below 0.
            for c in [variance_components(nested(generator, (9, 3, 0.4), counts))]
        ]
    )
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - [81, 9, 0.16]) < 3.5 * error + [0, 0.3, 0]).all()


def test_what_is_not_repeated_has_no_component() -> None:
    generator = np.random.default_rng(3)
    once = variance_components(nested(generator, (1, 1, 1), [[1] * 4] * 3))
    assert math.isnan(once.unlearning)
    assert once.training > 0
    assert once.within_split == once.training
    alone = variance_components(nested(generator, (1, 1, 1), [[2] * 4]))
    assert math.isnan(alone.split)
    single = variance_components(nested(generator, (5, 1, 1), [[1]] * 6))
    assert math.isnan(single.training)
    assert single.split > 0
    nothing = variance_components({0: {0: np.array([1.0])}})
    assert all(map(math.isnan, (nothing.split, nothing.training, nothing.unlearning)))


def test_negative_estimates_are_0_and_named() -> None:
    up, down = np.array([0.0, 9.0]), np.array([9.0, 0.0])
    alike = variance_components({0: {0: up, 1: down}, 1: {0: up, 1: up}})
    assert (alike.training, alike.negative) == (0, ("training",))
    crossed = variance_components({0: {0: up[:1], 1: down[:1]}, 1: {0: down[:1], 1: up[:1]}})
    assert (crossed.split, crossed.negative) == (0, ("split",))


def test_the_half_width_is_that_of_simulated_means() -> None:
    generator = np.random.default_rng(4)
    components = Components(4, 9, 1, ())
    means = [
        np.mean(
            [np.mean([*of.values()]) for of in nested(generator, (2, 3, 1), [[2] * 3] * 4).values()]
        )
        for _ in range(2000)
    ]
    expected = stats.t.ppf(0.975, 3) * np.std(means)
    assert half_width(components, 4, 3, 2) == pytest.approx(expected, rel=0.05)


def test_intervals_of_the_half_width_hold_the_mean() -> None:
    generator = np.random.default_rng(5)
    held = []
    for _ in range(300):
        values = nested(generator, (2, 3, 0), [[1] * 4] * 6)
        half = half_width(variance_components(values), 6, 4)
        mean = np.mean([each[0] for of in values.values() for each in of.values()])
        held.append(abs(mean - 70) <= half)
    assert 0.9 <= np.mean(held) <= 1


def test_one_split_has_the_interval_of_its_replicates() -> None:
    components = Components(NAN, 4, NAN, ())
    assert half_width(components, 1, 5) == pytest.approx(stats.t.ppf(0.975, 4) * 2 / math.sqrt(5))
    assert half_width(components, 1, 1) == math.inf


def test_needed_numbers_are_the_fewest_that_suffice() -> None:
    components = Components(1, 9, 4, ())
    needed = replicates_for(components, 2.0, splits=5)
    assert needed is not None
    assert half_width(components, 5, needed) <= 2.0 < half_width(components, 5, needed - 1)
    splits = splits_for(components, 1.0, replicates=3)
    assert splits is not None
    assert half_width(components, splits, 3) <= 1.0 < half_width(components, splits - 1, 3)


def test_no_number_of_replicates_outweighs_the_splits() -> None:
    assert replicates_for(Components(100, 1, NAN, ()), 2.0, splits=3) is None
    assert splits_for(Components(0.01, 0.01, NAN, ()), 100.0, replicates=1) == 2


def test_the_gap_of_a_shift_is_that_of_drawn_populations() -> None:
    generator = np.random.default_rng(6)
    u, r = generator.normal(1.5, 1, 900), generator.normal(size=900)
    assert gap_of_shift(1.5) == pytest.approx(excess_gap({0: u}, {0: r}).unbiased, rel=0.1)
    assert gap_of_shift(0) == pytest.approx(0)


@pytest.mark.parametrize(("splits", "replicates"), [(1, 5), (3, 4), (1, 10)])
def test_the_detectable_gap_is_found_with_its_power(splits: int, replicates: int) -> None:
    gap = detectable_gap(2.0, splits, replicates)
    shift = next(s for s in np.arange(0, 5, 0.01) if 2 * gap_of_shift(s) >= gap)
    generator = np.random.default_rng(7)
    found = []
    for _ in range(150):
        unlearned, retrained = (
            {s: generator.normal(2 * place, 2, replicates) for s in range(splits)}
            for place in (shift, 0)
        )
        found.append(excess_gap(unlearned, retrained).p_value <= 0.05)
    assert 0.65 <= np.mean(found) <= 0.9


def test_too_few_models_detect_nothing() -> None:
    assert detectable_gap(1.0, 1, 3) == math.inf
    assert detectable_gap(1.0, 1, 4) < math.inf
    assert detectable_gap(1.0, 2, 10) < detectable_gap(1.0, 2, 5)
