"""ToW and ToW-MIA against loops, and their intervals by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.scores.replicates import SIZES, bank
from unlearn_ray.evidence.tug_of_war import called_unseen
from unlearn_ray.scores.base import Population
from unlearn_ray.scores.tow import ToW

SETS = ("forget", "retain", "test")


def naive_unseen(forget: list[float], retain: list[float], test: list[float]) -> float:
    best, threshold = -1.0, 0.0
    for candidate in sorted({*retain, *test}):
        right = sum(x >= candidate for x in retain) / len(retain)
        right += sum(x < candidate for x in test) / len(test)
        if right > best + 1e-12:
            best, threshold = right, candidate
    return sum(x < threshold for x in forget) / len(forget)


def test_the_attack_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    for _ in range(10):
        forget, retain, test = (generator.normal(size=n).round(1) for n in (9, 14, 11))
        found = called_unseen(forget, retain + 0.5, test)
        assert found == pytest.approx(naive_unseen([*forget], [*(retain + 0.5)], [*test]))


def rates(population: Population, model: int, *, attacked: bool) -> list[float]:
    found = [float(population.correct[part][model].mean()) for part in SETS]
    if attacked:
        each = [[*population.confidence[part][model]] for part in SETS]
        found[0] = naive_unseen(*each)
    return found


@pytest.mark.parametrize("column", ["tow", "tow_mia"])
def test_values_are_those_of_loops(column: str) -> None:
    given, attacked = bank(2, 4, shift=1), column == "tow_mia"

    def tug(first: list[float], second: list[float]) -> float:
        return math.prod(1 - abs(a - b) for a, b in zip(first, second, strict=True))

    kinds = given.unlearned, given.retrained
    u, r = ([rates(each, i, attacked=attacked) for i in range(4)] for each in kinds)
    values = [tug(a, b) for a, b in zip(u, r, strict=True)]
    nulls = [tug(r[i], r[j]) for i in range(4) for j in range(4) if i != j]
    found = ToW().measure(given).estimates[column]
    assert found.value == pytest.approx(np.mean(values))
    assert found.null == pytest.approx(np.mean(nulls))
    # t of three degrees of freedom at 97.5 %.
    half = 3.1824 * float(np.std(values, ddof=1)) / 2
    assert found.low == pytest.approx(max(0, found.value - half), abs=1e-4)
    assert found.high == pytest.approx(min(1, found.value + half), abs=1e-4)


def test_intervals_hold_the_expected_value() -> None:
    found = [ToW().measure(bank(seed, 5, shift=-1)).estimates["tow"] for seed in range(150)]
    expected = np.mean([each.value for each in found])
    assert 0.88 <= np.mean([each.low <= expected <= each.high for each in found]) <= 1


def test_retrained_models_are_within_the_null_and_others_below() -> None:
    alike = ToW().measure(bank(3, 8)).estimates["tow"]
    assert alike.null_low <= alike.value <= alike.null_high
    shifted = ToW().measure(bank(4, 8, shift=-2)).estimates["tow"]
    assert shifted.high < shifted.null_low


def test_one_replicate_and_empty_sets_are_refused() -> None:
    assert "two or more" in ToW().measure(bank(5, 1)).estimates["tow"].refused
    empty = ToW().measure(bank(6, 3, sizes={**SIZES, "retain": 0})).estimates["tow_mia"]
    assert "empty" in empty.refused
