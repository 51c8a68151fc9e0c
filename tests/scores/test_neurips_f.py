"""The score of the NeurIPS 2023 competition: null, power, utility and refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.scores.replicates import SIZES, bank
from unlearn_ray.evidence.forgetting_quality import epsilons, points
from unlearn_ray.scores.neurips_f import NeurIPSF


def test_values_are_points_times_utility() -> None:
    given = bank(1, 10, shift=1)
    unlearned, retrained = given.unlearned, given.retrained
    scores = NeurIPSF().measure(given)
    epsilon = epsilons(unlearned.confidence["forget"], retrained.confidence["forget"])
    f = points(epsilon, 10).mean()
    utility = math.prod(
        unlearned.correct[part].mean() / retrained.correct[part].mean()
        for part in ("retain", "test")
    )
    assert scores.estimates["neurips_f"].value == pytest.approx(f)
    assert scores.estimates["neurips_score"].value == pytest.approx(f * utility)
    assert scores.arrays["neurips_epsilon"].tolist() == epsilon.tolist()


def test_retrained_models_are_within_the_null_and_shifted_ones_below() -> None:
    alike = NeurIPSF().measure(bank(2, 16)).estimates["neurips_f"]
    assert alike.null_low <= alike.value <= alike.null_high
    assert 0.15 <= alike.null <= 0.2
    assert alike.low <= alike.value <= alike.high
    for shift in (1, 2):
        shifted = NeurIPSF().measure(bank(3, 16, shift)).estimates["neurips_f"]
        assert shifted.value < shifted.null_low
        assert shifted.high < shifted.null


def test_lost_accuracy_lowers_the_final_score_alone() -> None:
    given = bank(4, 10)
    correct = {
        part: each & (np.arange(10) % 2 == 0)[:, None]
        for part, each in (given.unlearned.correct.items())
    }
    broken = replace(given, unlearned=replace(given.unlearned, correct=correct))
    before, after = (NeurIPSF().measure(each).estimates for each in (given, broken))
    assert after["neurips_f"] == before["neurips_f"]
    share = after["neurips_score"].value / before["neurips_score"].value
    assert share == pytest.approx(0.25, rel=0.1)


def test_few_models_and_empty_sets_are_refused() -> None:
    few = NeurIPSF().measure(bank(5, 7)).estimates["neurips_f"]
    assert math.isnan(few.value)
    assert "train 8 or more" in few.refused
    empty = NeurIPSF().measure(bank(6, 8, sizes={**SIZES, "forget": 0})).estimates
    assert "empty" in empty["neurips_score"].refused


def test_retrained_models_without_accuracy_are_refused() -> None:
    given = bank(7, 8)
    wrong = {part: np.zeros_like(each) for part, each in given.retrained.correct.items()}
    broken = replace(given, retrained=replace(given.retrained, correct=wrong))
    assert "never right" in NeurIPSF().measure(broken).estimates["neurips_score"].refused
