"""Comparisons of methods against loops and simulations, verdicts, and ranks with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unlearn_ray.evidence import verdicts
from unlearn_ray.evidence.verdicts import Verdict, compare, holm, judge, mean_gap, ranks

Models = dict[int, np.ndarray]


def normal(
    generator: np.random.Generator, shift: float, replicates: int = 5, splits: int = 3
) -> Models:
    return {split: generator.normal(shift, 1, (replicates, 2)) for split in range(splits)}


def naive_gap(models: np.ndarray, retrained: np.ndarray, unit: list[float]) -> float:
    gaps = []
    for u in models:
        for number, floor in enumerate(unit):
            away = [abs(u[number] - r[number]) for r in retrained]
            gaps.append(sum(away) / len(away) / floor)
    return sum(gaps) / len(gaps)


def test_mean_gap_and_difference_are_those_of_loops() -> None:
    generator = np.random.default_rng(1)
    first, second, retrained = (normal(generator, shift, 4, 2) for shift in (2, 1, 0))
    unit = [
        float(
            np.mean(
                [
                    abs(r[i, k] - r[j, k])
                    for r in retrained.values()
                    for i in range(4)
                    for j in range(i)
                ]
            )
        )
        for k in (0, 1)
    ]
    gaps = [
        sum(naive_gap(each[s], retrained[s], unit) for s in (0, 1)) / 2 for each in (first, second)
    ]
    assert mean_gap(first, retrained) == pytest.approx(gaps[0])
    assert compare(first, second, retrained).difference == pytest.approx(gaps[0] - gaps[1])


def test_one_more_retrained_model_is_one_noise_floor_away() -> None:
    generator = np.random.default_rng(2)
    found = [mean_gap(normal(generator, 0, 20), normal(generator, 0, 20)) for _ in range(40)]
    assert np.mean(found) == pytest.approx(1, abs=3 * float(np.std(found)) / math.sqrt(40))


def test_a_comparison_is_antisymmetric() -> None:
    generator = np.random.default_rng(3)
    first, second, retrained = (normal(generator, shift) for shift in (2, 1, 0))
    there, back = compare(first, second, retrained), compare(second, first, retrained)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert back.p_value == pytest.approx(there.p_value)


def test_the_p_value_reaches_the_level_where_the_interval_reaches_0() -> None:
    generator = np.random.default_rng(4)
    first, second, retrained = (normal(generator, shift, 4, 1) for shift in (1.5, 1, 0))
    p = compare(first, second, retrained).p_value
    edge = compare(first, second, retrained, level=p)
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("replicates", [3, 5])
def test_the_interval_holds_the_difference_where_a_bootstrap_does_not(
    replicates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = 2 / math.sqrt(math.pi)
    monkeypatch.setattr(verdicts, "floors", lambda *_: np.full(2, unit))
    far, near = (stats.foldnorm(shift / 2**0.5, scale=2**0.5).mean() for shift in (2, 0))
    truth = (far - near) / unit
    generator = np.random.default_rng(5)
    ours, bootstrap = [], []
    for _ in range(300):
        first, second, retrained = (normal(generator, shift, replicates, 1) for shift in (2, 0, 0))
        found = compare(first, second, retrained)
        ours.append(found.low <= truth <= found.high)
        gaps = [np.abs(m[0][:, None] - retrained[0]).mean(axis=2) / unit for m in (first, second)]
        share = np.full(replicates, 1 / replicates)
        u, r = generator.multinomial(replicates, share, (2, 400)) / replicates
        resampled = ((u @ (gaps[0] - gaps[1])) * r).sum(axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        bootstrap.append(low <= truth <= high)
    assert 0.92 <= np.mean(ours) <= 0.985
    assert np.mean(bootstrap) < 0.92


def test_equal_methods_are_rarely_told_apart() -> None:
    generator = np.random.default_rng(6)
    found = []
    for _ in range(400):
        first, second, retrained = (normal(generator, shift, 4, 2) for shift in (1, 1, 0))
        found.append(compare(first, second, retrained).p_value <= 0.05)
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_replicates_are_paired() -> None:
    """What both methods inherit from their original model does not blur their difference."""
    generator = np.random.default_rng(7)
    shared = normal(generator, 5)
    second = {s: each + 1 + 0.01 * generator.normal(size=each.shape) for s, each in shared.items()}
    retrained = normal(generator, 0)
    paired = compare(shared, second, retrained)
    turned = {split: np.roll(each, 1, axis=0) for split, each in second.items()}
    assert paired.difference == pytest.approx(compare(shared, turned, retrained).difference)
    assert paired.p_value < 1e-6 < compare(shared, turned, retrained).p_value


def test_only_shared_replicates_are_compared() -> None:
    generator = np.random.default_rng(8)
    first, second, retrained = (normal(generator, shift, 5, 1) for shift in (2, 1, 0))
    expected = compare({0: first[0][[0, 2, 3]]}, {0: second[0][[0, 2, 3]]}, retrained)
    first[0][1] = math.nan
    assert compare(first, {0: second[0][:4], 1: second[0]}, retrained) == expected


def test_a_model_is_as_good_as_itself() -> None:
    generator = np.random.default_rng(9)
    models, retrained = normal(generator, 2), normal(generator, 0)
    assert compare(models, models, retrained).p_value == 1.0


def test_one_replicate_compares_nothing() -> None:
    one = {0: np.ones((1, 2))}
    assert math.isnan(compare(one, one, {0: np.eye(2)}).p_value)


def test_holm_is_that_of_loops() -> None:
    found = holm([0.01, math.nan, 0.04, 0.03, 0.5])
    # In order: 4 x .01, 3 x .03, then the larger of .09 and 2 x .04, then .5.
    assert found == pytest.approx([0.04, math.nan, 0.09, 0.09, 0.5], nan_ok=True)


def test_verdicts_of_known_methods() -> None:
    generator = np.random.default_rng(10)
    original, retrained = normal(generator, 6), normal(generator, 0)
    methods = {
        "retraining": normal(generator, 0),
        "half": normal(generator, 3),
        "destroyed": normal(generator, -30),
        "nothing": original,
    }
    judged = judge(methods, original, retrained)
    assert {name: each.verdict for name, each in judged.items()} == {
        "retraining": Verdict.INDISTINGUISHABLE,
        "half": Verdict.BETTER,
        "destroyed": Verdict.WORSE,
        "nothing": Verdict.UNDECIDED,
    }
    assert [each.rank for each in judged.values()] == [1, 2, 4, 3]


def test_what_cannot_be_told_from_doing_nothing_is_not_called_indistinguishable() -> None:
    """An original model that is distributed as the retrained leaves nothing to decide."""
    generator = np.random.default_rng(11)
    original, retrained = normal(generator, 0), normal(generator, 0)
    judged = judge({"retraining": normal(generator, 0)}, original, retrained)
    assert judged["retraining"].joint.p_value > 0.05
    assert judged["retraining"].verdict is Verdict.UNDECIDED
    assert judged["retraining"].refused == ""


def test_two_replicates_are_refused_with_the_number_that_would_do() -> None:
    generator = np.random.default_rng(12)
    original, retrained, method = (normal(generator, shift, 2, 1) for shift in (50, 0, 0))
    judged = judge({"method": method}, original, retrained)["method"]
    assert judged.verdict is Verdict.UNDECIDED
    assert "p-value below 0.33" in judged.refused
    assert "train 4 replicates" in judged.refused


def test_methods_that_are_not_told_apart_share_a_rank() -> None:
    generator = np.random.default_rng(16)
    retrained = normal(generator, 0)
    found = ranks(
        {"a": normal(generator, 4), "b": normal(generator, 4), "c": normal(generator, 40)},
        retrained,
    )
    assert found == {"a": 1, "b": 1, "c": 3}


def test_false_verdicts_over_methods_that_do_nothing_are_rare() -> None:
    generator = np.random.default_rng(14)
    told = 0
    for _ in range(60):
        shared = normal(generator, 2, 4, 2)
        methods = {
            str(number): {s: m + 0.3 * generator.normal(size=m.shape) for s, m in shared.items()}
            for number in range(4)
        }
        judged = judge(methods, shared, normal(generator, 0, 4, 2))
        told += any(each.verdict is not Verdict.UNDECIDED for each in judged.values())
    assert told / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
