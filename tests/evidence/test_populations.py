"""Noise floor, excess gap and joint test against loops, and against populations with known gaps."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import stats

from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.evidence.floors import floors, noise_floor
from unlearn_ray.evidence.permutations import DRAWN, EXACT, arrangements, strata_of
from unlearn_ray.evidence.populations import (
    excess_gap,
    joint_test,
    replicates_needed,
)

Split = dict[int, np.ndarray]


def normal(
    generator: np.random.Generator, shift: float, replicates: int, splits: int = 1, metrics: int = 0
) -> Split:
    shape = (replicates, metrics) if metrics else (replicates,)
    return {split: generator.normal(shift, 1, shape) for split in range(splits)}


def first_metric(models: Split) -> Split:
    return {split: each[:, 0] for split, each in models.items()}


def naive_gap(u: list[float], r: list[float]) -> float:
    between = [abs(a - b) for a in u for b in r]
    own = [abs(a - b) for a in u for b in u]
    others = [abs(a - b) for a in r for b in r]
    return sum(between) / len(between) - sum(own) / len(own) / 2 - sum(others) / len(others) / 2


def gap_of_normals(shift: float) -> float:
    """E|N(d, 2)| - E|N(0, 2)|."""
    folded = stats.foldnorm(shift / math.sqrt(2), scale=math.sqrt(2)).mean()
    return float(folded - 2 / math.sqrt(math.pi))


def test_the_noise_floor_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    retrained = {7: generator.normal(size=3), 2: generator.normal(size=4), 5: np.array([1.0])}
    expected = sorted(
        abs(float(values[i] - values[j]))
        for values in retrained.values()
        for i in range(len(values))
        for j in range(i + 1, len(values))
    )
    floor = noise_floor(retrained)
    assert floor.differences.tolist() == pytest.approx(expected)
    assert floor.mean == pytest.approx(sum(expected) / 9)
    assert floor.splits == 2


def test_one_retrained_model_has_no_noise_floor() -> None:
    alone = noise_floor({0: np.array([1.0]), 1: np.array([5.0, math.nan])})
    assert math.isnan(alone.mean)
    assert (alone.splits, len(alone.differences)) == (0, 0)
    with pytest.raises(UnlearnRayError, match="at least two replicates"):
        floors({0: np.ones((1, 2))})


def test_a_floor_is_not_smaller_than_the_least() -> None:
    values = np.array([[1.0, 50.0], [1.0, 52.0]])
    assert floors({0: values}, least=0.1).tolist() == [0.1, 2.0]


def test_the_excess_gap_is_that_of_loops() -> None:
    generator = np.random.default_rng(2)
    unlearned = {3: generator.normal(size=4), 1: generator.normal(1, 2, size=3)}
    retrained = {1: generator.normal(size=5), 3: generator.normal(size=2)}
    expected = [naive_gap([*unlearned[s]], [*retrained[s]]) for s in (1, 3)]
    assert excess_gap(unlearned, retrained).value == pytest.approx(sum(expected) / 2)


def test_the_excess_gap_is_the_squared_distance_of_the_distribution_functions() -> None:
    generator = np.random.default_rng(3)
    u, r = generator.normal(size=6), generator.normal(1, 3, size=4)
    ends = np.sort(np.concatenate([u, r]))
    integral = sum(
        ((u <= left).mean() - (r <= left).mean()) ** 2 * (right - left)
        for left, right in pairwise(ends)
    )
    assert excess_gap({0: u}, {0: r}).value == pytest.approx(integral)


def test_equal_samples_have_no_excess_gap() -> None:
    values = {0: np.array([0.3, 0.1, 0.7]), 1: np.array([1.0, 5.0])}
    same = excess_gap(values, {split: np.flip(each) for split, each in values.items()})
    assert same.value == pytest.approx(0, abs=1e-15)
    assert (same.p_value, same.low) == (1.0, 0.0)
    assert same.unbiased < 0


def test_constant_metrics_are_alike() -> None:
    constant = {0: np.full(4, 100.0)}
    same = excess_gap(constant, constant)
    assert (same.value, same.p_value, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)


def test_the_unbiased_form_is_that_of_loops_and_unbiased() -> None:
    generator = np.random.default_rng(4)
    found = []
    for _ in range(150):
        unlearned, retrained = normal(generator, 1, 3, 2), normal(generator, 0, 4, 2)
        gap = excess_gap(unlearned, retrained)
        naive = 0.0
        for u, r in ((unlearned[s], retrained[s]) for s in (0, 1)):
            between = np.mean([abs(a - b) for a in u for b in r])
            own = np.mean([abs(a - b) for a, b in combinations(u, 2)])
            others = np.mean([abs(a - b) for a, b in combinations(r, 2)])
            naive += float(between - own / 2 - others / 2) / 2
        assert gap.unbiased == pytest.approx(naive)
        found.append(gap.unbiased)
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - gap_of_normals(1)) < 3 * error


@pytest.mark.parametrize("shift", [1, 2])
def test_the_interval_holds_the_excess_gap(shift: float) -> None:
    generator = np.random.default_rng(5)
    held = []
    for _ in range(150):
        gap = excess_gap(normal(generator, shift, 5), normal(generator, 0, 5))
        held.append(gap.low <= gap_of_normals(shift) <= gap.high)
    assert 0.9 <= np.mean(held) <= 1.0


def test_the_exact_p_value_is_that_of_loops() -> None:
    generator = np.random.default_rng(6)
    unlearned, retrained = normal(generator, 1, 3, 2), normal(generator, 0, 2, 2)
    pooled = [[*unlearned[s], *retrained[s]] for s in (0, 1)]

    def arranged(values: list[float], chosen: tuple[int, ...]) -> float:
        others = [value for number, value in enumerate(values) if number not in chosen]
        return naive_gap([values[number] for number in chosen], others)

    ways = [[arranged(each, c) for c in combinations(range(5), 3)] for each in pooled]
    statistics = [(a + b) / 2 for a in ways[0] for b in ways[1]]
    observed = statistics[0]
    gap = excess_gap(unlearned, retrained)
    assert gap.p_value == sum(s >= observed - 1e-12 for s in statistics) / 100
    assert gap.null == pytest.approx(sum(statistics) / 100)


def test_drawn_arrangements_come_near_the_exact_p_value() -> None:
    generator = np.random.default_rng(7)
    unlearned, retrained = normal(generator, 1, 9), normal(generator, 0, 9)
    labelled = arrangements(strata_of(unlearned, retrained))
    assert math.comb(18, 9) > EXACT
    assert labelled[0][1].shape == (DRAWN + 1, 18)
    assert (labelled[0][1].sum(axis=1) == 9).all()
    pooled = np.concatenate([unlearned[0], retrained[0]])
    distances = np.abs(pooled[:, None] - pooled)
    chosen = np.array([*combinations(range(18), 9)])
    weights = np.full((len(chosen), 18), -1 / 9)
    np.put_along_axis(weights, chosen, 1 / 9, axis=1)
    statistics = -((weights @ distances) * weights).sum(axis=1) / 2
    exact = float((statistics >= statistics[0] - 1e-12).mean())
    found = excess_gap(unlearned, retrained).p_value
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / DRAWN) + 1e-3)


@pytest.mark.parametrize("replicates", [4, 5])
def test_p_values_are_uniform_under_the_null(replicates: int) -> None:
    """Of enumerated and of drawn arrangements, and of metrics that depend on each other."""
    generator = np.random.default_rng(17)
    single, joint = [], []
    for _ in range(200):
        models = normal(generator, 0, 2 * replicates, 2, 3)
        mixed = {s: each + each.sum(axis=1, keepdims=True) for s, each in models.items()}
        unlearned = {s: each[:replicates] for s, each in mixed.items()}
        retrained = {s: each[replicates:] for s, each in mixed.items()}
        joint.append(joint_test(unlearned, retrained).p_value)
        single.append(excess_gap(first_metric(unlearned), first_metric(retrained)).p_value)
    for found in (single, joint):
        assert min(found) > 0
        assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_observed_floor_under_every_permutation_rejects_too_often() -> None:
    generator = np.random.default_rng(9)
    ours, fixed = [], []
    for _ in range(300):
        unlearned, retrained = normal(generator, 0, 3, 2, 8), normal(generator, 0, 3, 2, 8)
        ours.append(joint_test(unlearned, retrained).p_value <= 0.05)
        strata = arrangements(strata_of(unlearned, retrained))
        statistics = np.zeros(400)
        for number, floor in enumerate(floors(retrained)):
            for each, labels in strata:
                weights = np.where(labels, 1 / 3, -1 / 3)
                forms = ((weights @ each.distances[..., number]) * weights).sum(axis=1)
                statistics -= forms / floor
        fixed.append((statistics >= statistics[0] - 1e-9).mean() <= 0.05)
    # Over 500 draws 0.05 and 0.116.
    assert np.mean(ours) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean(fixed) > 0.08


def test_power_of_five_replicates_on_three_splits() -> None:
    generator = np.random.default_rng(10)
    power = {}
    for shift in (1, 2):
        rejected = [
            excess_gap(normal(generator, shift, 5, 3), normal(generator, 0, 5, 3)).p_value <= 0.05
            for _ in range(100)
        ]
        power[shift] = np.mean(rejected)
    # 0.49 and 0.99 over 300 draws.
    assert 0.35 <= power[1] <= 0.7
    assert power[2] >= 0.95


def test_dispersion_is_found_where_means_agree() -> None:
    generator = np.random.default_rng(11)
    gap = excess_gap({0: generator.normal(0, 10, 12)}, {0: generator.normal(0, 0.1, 12)})
    assert gap.p_value <= 0.01


def test_the_smallest_p_value_is_reached_by_populations_far_apart() -> None:
    for n, m, splits in ((3, 3, 1), (2, 3, 1), (4, 4, 1), (2, 2, 2), (6, 6, 2)):
        far = excess_gap(
            {s: 100.0 + np.arange(n) for s in range(splits)},
            {s: 0.0 + np.arange(m) for s in range(splits)},
        )
        assert far.p_value == pytest.approx(far.smallest_p)


def test_needed_replicates_are_the_fewest_that_reach_the_level() -> None:
    def reached(n: int, splits: int) -> float:
        values = {s: np.arange(n) + 0.0 for s in range(splits)}
        return excess_gap(values, values).smallest_p

    for splits in (1, 2, 3):
        needed = replicates_needed(splits, 0.05)
        assert reached(needed, splits) <= 0.05
        assert needed == 2 or reached(needed - 1, splits) > 0.05


def test_the_joint_test_permutes_whole_models() -> None:
    """Ten copies of one metric are no more evidence than one."""
    generator = np.random.default_rng(12)
    unlearned, retrained = normal(generator, 1, 5, 1, 1), normal(generator, 0, 5, 1, 1)
    alone = joint_test(unlearned, retrained).p_value
    u, r = ({0: np.repeat(each[0], 10, axis=1)} for each in (unlearned, retrained))
    assert joint_test(u, r).p_value == pytest.approx(alone)


def test_the_joint_statistic_is_that_of_loops() -> None:
    generator = np.random.default_rng(13)
    unlearned, retrained = normal(generator, 1, 3, 2, 2), normal(generator, 0, 4, 2, 2)
    expected = 0.0
    for metric in (0, 1):
        kinds = [{s: each[s][:, metric] for s in (0, 1)} for each in (unlearned, retrained)]
        excess = sum(naive_gap([*kinds[0][s]], [*kinds[1][s]]) for s in (0, 1)) / 2
        pairs = [noise_floor(kind).differences for kind in kinds]
        expected += excess / float(np.concatenate(pairs).mean())
    assert joint_test(unlearned, retrained).statistic == pytest.approx(expected)


def test_absent_replicates_do_not_count() -> None:
    generator = np.random.default_rng(14)
    unlearned, retrained = normal(generator, 1, 4, 1, 2), normal(generator, 0, 4, 1, 2)
    expected = joint_test({0: unlearned[0][[0, 2, 3]]}, retrained)
    unlearned[0][1, 0] = math.nan
    assert joint_test({**unlearned, 1: np.ones((2, 2))}, retrained) == expected


def test_an_infinite_value_is_an_error() -> None:
    with pytest.raises(UnlearnRayError, match="infinite"):
        excess_gap({0: np.array([1.0, math.inf])}, {0: np.array([1.0, 2.0])})


def test_single_models_have_no_excess_gap() -> None:
    none = excess_gap({0: np.array([1.0])}, {0: np.array([1.0, 2.0])})
    assert math.isnan(none.value)
    assert math.isnan(none.p_value)
    assert none.smallest_p == 1.0
    assert math.isnan(joint_test({0: np.ones((1, 2))}, {0: np.ones((2, 2))}).p_value)


def test_the_order_of_splits_and_the_call_change_nothing() -> None:
    generator = np.random.default_rng(15)
    unlearned, retrained = normal(generator, 1, 5, 3), normal(generator, 0, 5, 3)
    turned = dict(reversed(unlearned.items()))
    assert excess_gap(unlearned, retrained) == excess_gap(turned, retrained)
