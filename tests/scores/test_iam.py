"""IAM against loops, and between the original and the retrained models."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.scores.replicates import SIZES, bank
from unlearn_ray.evidence.iam import completeness, signal
from unlearn_ray.scores.iam import IAM


def test_the_signal_is_that_of_probabilities() -> None:
    p = np.array([0.001, 0.3, 0.99])
    expected = [-math.log(0.01 - math.log(each + 1e-5)) for each in p]
    assert signal(np.log(p / (1 - p))) == pytest.approx(expected)
    assert np.isfinite(signal(np.array([-800.0, 800.0]))).all()


def test_completeness_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    unlearned, original = generator.normal(size=5), generator.normal(2, 1, 5)
    shadows = generator.normal(size=(3, 5))
    for sample in range(5):
        membership = weights = 0.0
        for step in range(99):
            alpha = step / 99
            moved = [
                [s + alpha * (o - s) for s, o in zip(each, original, strict=True)]
                for each in (shadows)
            ]
            beta = math.sqrt(6) / math.pi * float(np.std(moved))
            mean = sum(each[sample] for each in moved) / 3
            z = (unlearned[sample] - (mean - 0.5772156649 * beta)) / beta
            membership += (step + 1) / 99 * math.exp(-math.exp(-z))
            weights += (step + 1) / 99
        found = completeness(unlearned, original, shadows)[sample]
        assert found == pytest.approx(1 - membership / weights)


def test_signals_that_do_not_vary() -> None:
    same = np.zeros(3)
    assert np.isfinite(completeness(same, same, np.zeros((2, 3)))).all()


def test_the_original_is_less_complete_than_retraining() -> None:
    nothing = IAM().measure(bank(2, 6, shift=3)).estimates["iam"]
    halfway = IAM().measure(bank(2, 6, shift=1.5)).estimates["iam"]
    retrained = IAM().measure(bank(2, 6)).estimates["iam"]
    assert nothing.value < halfway.value < retrained.value
    assert nothing.high < nothing.null_low
    assert retrained.null_low <= retrained.value <= retrained.null_high


def test_one_replicate_and_an_empty_set_are_refused() -> None:
    assert "two or more" in IAM().measure(bank(3, 1)).estimates["iam"].refused
    empty = IAM().measure(bank(4, 3, sizes={**SIZES, "forget": 0})).estimates["iam"]
    assert "empty" in empty.refused
