"""What the attacks on a bank of masks report: nulls, intervals, power and refusals."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.scores.banks import masked_bank
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import parts
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN
from unlearn_ray.evidence.roc import Ranking
from unlearn_ray.scores.attacks import MaskedAttack
from unlearn_ray.scores.base import MaskedBank, Score, Scores
from unlearn_ray.scores.rmia import Rmia
from unlearn_ray.scores.ruli import Ruli
from unlearn_ray.scores.u_lira import ULira

ATTACKS = {name: part for name, part in parts(Score).items() if issubclass(part, MaskedAttack)}
# Those that see what unlearning leaves, by the attack whose columns they are.
FORGOTTEN = {
    "u_lira_forget": "u_lira",
    "rmia_forget": "rmia",
    "rmia_offline_forget": "rmia",
    "ruli_efficacy": "ruli",
    "ruli_privacy": "ruli",
}
TRAINED = {
    "u_lira_retain": "u_lira",
    "rmia_retain": "rmia",
    "rmia_offline_retain": "rmia",
    "lira": "lira",
    "lira_offline": "lira",
}


@cache
def measured(attack: str, models: int, left: float, memorised: float = 1.5) -> Scores:
    return ATTACKS[attack]().measure(masked_bank(models, memorised=memorised, left=left))


@pytest.mark.parametrize("name", ATTACKS)
def test_every_column_has_an_estimate(name: str) -> None:
    found = measured(name, 24, left=0.0)
    assert {*found.estimates} == {*ATTACKS[name].columns}
    for column, estimate in found.estimates.items():
        assert estimate.models == 24
        if column.endswith("tpr_at_0_1"):
            # 24 models, and half of 300 samples each.
            assert estimate.refused == (
                "a false-positive rate of 0.1 % needs 10,000 negatives, and 24 models have 3,600 "
                "of these samples; 68 models have enough"
            )
            assert all(math.isnan(getattr(estimate, f.name)) for f in fields(estimate)[:6])
        else:
            assert estimate.refused == ""
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 100
            assert 0 <= estimate.null_low <= estimate.null <= estimate.null_high <= 100


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_bank_has_the_same_scores(name: str) -> None:
    bank = masked_bank(24, memorised=1.5, left=0.0)
    again = ATTACKS[name]().measure(bank)
    first = measured(name, 24, left=0.0)
    assert repr(again.estimates) == repr(first.estimates)
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])


@pytest.mark.parametrize("name", ATTACKS)
def test_curves_are_kept(name: str) -> None:
    found = measured(name, 24, left=0.0)
    curves = {column.removesuffix("_auc") for column in found.estimates if column.endswith("_auc")}
    assert {*found.arrays} == {f"{curve}_{of}" for curve in curves for of in ("fpr", "tpr")}
    for curve in curves:
        fpr, tpr = found.arrays[f"{curve}_fpr"], found.arrays[f"{curve}_tpr"]
        assert len(fpr) == len(tpr) <= 1000
        area = found.estimates[f"{curve}_auc"].value
        np.testing.assert_allclose(100 * np.trapezoid(tpr, fpr), area, atol=0.01)
        rate = max(tpr[fpr <= 0.01])
        assert 0 <= found.estimates[f"{curve}_tpr_at_1"].value - 100 * rate < 2


@pytest.mark.parametrize(("curve", "attack"), FORGOTTEN.items())
@pytest.mark.parametrize("models", [12, 24, 48])
def test_perfect_unlearning_is_within_its_null(curve: str, attack: str, models: int) -> None:
    found = measured(attack, models, left=0.0).estimates[f"{curve}_auc"]
    # Two ranges that each hold 95 % may miss each other's centre, but not each other by as much.
    width = found.null_high - found.null_low
    assert found.null_low - width / 2 < found.value < found.null_high + width / 2
    assert abs(found.null - 50) < width


def test_ranges_and_intervals_hold_what_they_say() -> None:
    found = [
        ULira().measure(masked_bank(16, samples=50, seed=seed)).estimates["u_lira_forget_auc"]
        for seed in range(60)
    ]
    # Of 60, fewer than 50 are inside by chance once in 10,000 times.
    assert sum(e.null_low <= e.value <= e.null_high for e in found) >= 50
    assert sum(e.low <= 50 <= e.high for e in found) >= 50
    # Student's quantile for 20 reruns is 2.1, and the longer of two half-lengths is reported.
    spread = np.std([e.value for e in found])
    assert 1.6 < np.mean([e.null_high - e.null_low for e in found]) / 2 / spread < 2.9
    assert 1.6 < np.mean([e.high - e.low for e in found]) / 2 / spread < 3.7


@pytest.mark.parametrize(("curve", "attack"), FORGOTTEN.items())
def test_doing_nothing_is_far_above_its_null(curve: str, attack: str) -> None:
    few, many = (measured(attack, m, left=1.0).estimates[f"{curve}_auc"] for m in (12, 48))
    for found in (few, many):
        assert found.value > found.null_high + 3
    assert many.value > 60
    assert many.low > many.null_high
    assert many.null_high - many.null_low < few.null_high - few.null_low
    tail = measured(attack, 48, left=1.0).estimates[f"{curve}_tpr_at_1"]
    assert tail.value > tail.null_high


@pytest.mark.parametrize(("curve", "attack"), TRAINED.items())
def test_what_was_trained_on_and_kept_is_recognised(curve: str, attack: str) -> None:
    assert measured(attack, 24, left=0.0).estimates[f"{curve}_auc"].value > 60
    nothing = measured(attack, 24, left=0.0, memorised=0.0).estimates[f"{curve}_auc"]
    width = nothing.null_high - nothing.null_low
    assert nothing.null_low - width / 2 < nothing.value < nothing.null_high + width / 2


def test_an_area_below_chance_is_told_as_such() -> None:
    # Unlearning that makes a sample less likely than one never seen; offline the sign shows.
    bank = masked_bank(24, memorised=1.5, left=-1.0)
    assert ULira().measure(bank).estimates["u_lira_forget_auc"].value > 60
    assert Rmia().measure(bank).estimates["rmia_offline_forget_auc"].value < 40


def test_efficacy_compares_with_originals_and_privacy_with_unlearned_models() -> None:
    bank = masked_bank(24, memorised=1.5, left=0.0)
    # Unlearning damages all samples alike: nobody tells who was forgotten, but it shows.
    damaged = replace(bank, unlearned=bank.unlearned - 2)
    found = Ruli().measure(damaged).estimates
    assert found["ruli_privacy_auc"].value < found["ruli_privacy_auc"].null_high + 2
    assert found["ruli_efficacy_auc"].value > 75


def test_the_value_is_that_of_held_out_scores() -> None:
    bank = masked_bank(24, memorised=1.5, left=1.0)
    (name, attack), *_ = ULira().attacks(bank).items()
    scores = attack.scores(bank.states)
    ranking = Ranking(scores[bank.states == FORGET], scores[bank.states == OUT])
    assert ULira().measure(bank).estimates[f"{name}_auc"].value == 100 * ranking.auc()
    # A block's scores say nothing of its own states: other states, the same scores.
    swapped = bank.states.copy()
    swapped[:4] = np.choose(swapped[:4], [OUT, FORGET, RETAIN]).astype(np.uint8)
    np.testing.assert_allclose(attack.scores(swapped)[:4], scores[:4], atol=1e-12)
    assert np.abs(attack.scores(swapped)[4:] - scores[4:]).max() > 0.1


def altered(bank: MaskedBank, **changes: Any) -> MaskedBank:
    return replace(bank, **changes)


def test_banks_that_an_attack_cannot_use_are_refused() -> None:
    bank = masked_bank(12)
    for attack in (Rmia(), Ruli()):
        with pytest.raises(DataError, match=f"{attack.name}: .* this signal"):
            attack.measure(altered(bank, confidence=False))
    ULira().measure(altered(bank, confidence=False))
    with pytest.raises(DataError, match="rmia with 0 unseen samples"):
        Rmia().measure(masked_bank(12, unseen=0))
    with pytest.raises(DataError, match="a bank of 8 models: this score needs at least 12"):
        ULira().measure(masked_bank(8))
    unlearned = bank.unlearned.copy()
    unlearned[[3, 7], 5] = np.nan
    with pytest.raises(DataError, match="model 3 of a bank: a signal is not finite, of 2 models"):
        ULira().measure(altered(bank, unlearned=unlearned))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_fewest_models_are_enough(name: str) -> None:
    attack = ATTACKS[name]()
    found = attack.measure(masked_bank(attack.least, samples=100)).estimates
    assert all(math.isfinite(e.value) for column, e in found.items() if column.endswith("_auc"))
