"""The three-sample test against loops, and at known distances."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from tests.scores.replicates import SIZES, bank
from unlearn_ray.evidence.three_samples import nearness
from unlearn_ray.scores.three_sample import ThreeSample


def models(generator: np.random.Generator, place: float, count: int = 6) -> np.ndarray:
    return generator.normal(place, 1, (count, 5))


def test_it_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    u, r, o = models(generator, 1, 4), models(generator, 0, 5), models(generator, 2, 4)

    def mean(first: np.ndarray, second: np.ndarray, *, apart: bool) -> float:
        pairs = [
            math.dist(a, b)
            for (i, a), (j, b) in product(enumerate(first), enumerate(second))
            if not (apart and i == j)
        ]
        return sum(pairs) / len(pairs)

    d_uo = 2 * mean(u, o, apart=True) - mean(u, u, apart=True) - mean(o, o, apart=True)
    d_ur = 2 * mean(u, r, apart=False) - mean(u, u, apart=True) - mean(r, r, apart=True)
    d_or = 2 * mean(o, r, apart=False) - mean(o, o, apart=True) - mean(r, r, apart=True)
    assert nearness(u, r, o).value == pytest.approx((d_uo - d_ur) / d_or)


def test_the_original_is_at_minus_1_and_retraining_at_1() -> None:
    """On average, although an unlearned model that is its original's copy is paired with it."""
    generator = np.random.default_rng(2)
    found: dict[str, list[float]] = {"nothing": [], "retraining": []}
    for _ in range(40):
        original, retrained = models(generator, 4), models(generator, 0)
        found["nothing"].append(nearness(original, retrained, original).value)
        found["retraining"].append(nearness(models(generator, 0), retrained, original).value)
    assert found["nothing"] == pytest.approx([-1] * 40)
    error = float(np.std(found["retraining"])) / math.sqrt(40)
    assert np.mean(found["retraining"]) == pytest.approx(1, abs=3 * error)


def test_the_interval_holds_0_half_way() -> None:
    """By symmetry: what the unlearned models keep of their original leaves them in the middle."""
    generator = np.random.default_rng(3)
    held = []
    for _ in range(200):
        original, root = models(generator, 4), math.sqrt(0.5)
        unlearned = 2 + root * (original - 4) + root * generator.normal(size=original.shape)
        found = nearness(unlearned, models(generator, 0), original)
        held.append(found.low <= 0 <= found.high)
    assert 0.9 <= np.mean(held) <= 0.985


def test_the_range_of_the_null_holds_retrained_models() -> None:
    generator = np.random.default_rng(9)
    held = []
    for _ in range(200):
        unlearned, retrained, original = (models(generator, place) for place in (0, 0, 2))
        found = nearness(unlearned, retrained, original)
        held.append(found.null_low <= found.value <= found.null_high)
    assert 0.9 <= np.mean(held) <= 0.985


def test_retrained_and_original_models_are_told_apart() -> None:
    retraining = ThreeSample().measure(bank(4, 8)).estimates["three_sample"]
    assert retraining.low > 0
    assert retraining.null_low <= retraining.value <= retraining.null_high
    nothing = ThreeSample().measure(bank(5, 8, shift=3)).estimates["three_sample"]
    assert nothing.high < 0


def test_what_cannot_be_told_is_refused() -> None:
    few = ThreeSample().measure(bank(6, 3)).estimates["three_sample"]
    assert "train 4 or more" in few.refused
    alike = ThreeSample().measure(bank(7, 6, original=0)).estimates["three_sample"]
    assert math.isnan(alike.value)
    assert "are not told apart" in alike.refused
    empty = ThreeSample().measure(bank(8, 4, sizes={**SIZES, "forget": 0})).estimates
    assert "empty" in empty["three_sample"].refused
