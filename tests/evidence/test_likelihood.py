"""Likelihood ratios against fits sample by sample, and against populations of known power."""

from __future__ import annotations

import math
import statistics
import warnings

import numpy as np
import pytest

from tests.evidence.populations_of_masks import (
    area,
    bank,
    gaussian,
    held_out,
    in_sample,
    leave_one_model_out,
    log_ratio,
)
from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.likelihood import OWN_VARIANCE, offline, online
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.evidence.roc import Ranking

IN = (RETAIN, FORGET)


def log_normal(x: float, mean: float, deviation: float) -> float:
    return -(((x - mean) / deviation) ** 2) / 2 - math.log(deviation * math.sqrt(2 * math.pi))


def elsewhere(
    values: np.ndarray, of: np.ndarray, block: int, chosen: tuple[int, ...]
) -> list[list[float]]:
    """Per sample, the values under models of other blocks that have it in these states."""
    models, samples = of.shape
    return [
        [float(values[m, x]) for m in range(models) if m // 4 != block and of[m, x] in chosen]
        for x in range(samples)
    ]


def naive(values: np.ndarray, of: np.ndarray, members: tuple[int, ...], own: bool) -> np.ndarray:
    """Both scores, online and offline, model by model and sample by sample."""
    scores = np.empty((2, *of.shape))
    for model, x in np.ndindex(*of.shape):
        fits = []
        for chosen in (members, (OUT,)):
            groups = elsewhere(values, of, model // 4, chosen)
            squares = [sum((v - statistics.fmean(g)) ** 2 for v in g) for g in groups]
            freedom = [len(g) - 1 for g in groups]
            variance = squares[x] / freedom[x] if own else sum(squares) / sum(freedom)
            fits.append((statistics.fmean(groups[x]), math.sqrt(variance)))
        value = float(values[model, x])
        scores[0, model, x] = log_normal(value, *fits[0]) - log_normal(value, *fits[1])
        scores[1, model, x] = statistics.NormalDist(*fits[1]).zscore(value)
    return scores


@pytest.mark.parametrize("members", [(FORGET,), (RETAIN,), IN])
def test_shared_variance_is_fitted_by_hand(members: tuple[int, ...]) -> None:
    of, values = bank(16, 6, shift=1, seed=0, members=members)
    values = values * np.linspace(1, 3, 6)
    expected = naive(values, of, members, own=False)
    np.testing.assert_allclose(online(values, of, members), expected[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(offline(values, of), expected[1], rtol=1e-9, atol=1e-9)


def test_own_variance_is_fitted_by_hand() -> None:
    # Outside a block, 64 models are IN and 64 OUT.
    of, values = bank(2 * OWN_VARIANCE + 4, 2, shift=1, seed=0, members=IN)
    values = values * np.array([1, 3])
    expected = naive(values, of, IN, own=True)
    np.testing.assert_allclose(online(values, of, IN), expected[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(offline(values, of), expected[1], rtol=1e-9, atol=1e-9)
    # 32 models of the 132 have a sample in the FORGET set: too few.
    shared = naive(values, of, (FORGET,), own=False)
    np.testing.assert_allclose(online(values, of, (FORGET,)), shared[0], rtol=1e-9, atol=1e-9)


# Areas where there is nothing to find, by models per side, of fits that are in-sample and that
# leave out one model (each with variances of the samples' own).
NULLS = {4: (0.79, 0.45), 8: (0.68, 0.48), 16: (0.63, 0.50), 64: (0.57, 0.50)}
# Areas of held-out fits, with own and with shared variance, where members are half a standard
# deviation larger; the truth's is .638.
POWERS = {4: (0.556, 0.578), 8: (0.571, 0.593), 16: (0.593, 0.615), 64: (0.632, 0.637)}


@pytest.mark.parametrize("models", NULLS)
def test_only_held_out_models_are_at_chance_where_there_is_nothing_to_find(models: int) -> None:
    generator = np.random.default_rng(models)
    member, out = generator.normal(size=(2, models, 4000))
    assert abs(in_sample(member, out, shared=False) - NULLS[models][0]) < 0.015
    assert abs(leave_one_model_out(member, out, shared=False) - NULLS[models][1]) < 0.015
    assert in_sample(member, out, shared=True) > 0.53
    # A bank of so many IN models, and as many OUT models, outside each block.
    of, values = bank(2 * models + 4, 4000, shift=0, seed=models, members=IN)
    error = math.sqrt(1 / (6 * np.count_nonzero(of == OUT)))
    assert abs(area(online(values, of, IN), of, IN) - 0.5) < 4 * error
    assert abs(area(offline(values, of), of, IN) - 0.5) < 4 * error


@pytest.mark.parametrize("models", [4, 8])
def test_leaving_out_one_model_tells_its_state(models: int) -> None:
    generator = np.random.default_rng(models)
    member, out = generator.normal(size=(2, models, 8000))
    error = math.sqrt(1 / (6 * member.size))
    for shared in (False, True):
        assert leave_one_model_out(member, out, shared) < 0.5 - 4 * error


@pytest.mark.parametrize("models", POWERS)
def test_power_at_half_a_deviation(models: int) -> None:
    own, shared = POWERS[models]
    generator = np.random.default_rng(models)
    member, out, *fresh = generator.normal(size=(4, models, 200_000 // models))
    member, fresh[0] = member + 0.5, fresh[0] + 0.5
    for expected, of_one in ((own, False), (shared, True)):
        assert abs(held_out(member, out, (fresh[0], fresh[1]), of_one) - expected) < 0.012
    of, values = bank(2 * models + 4, 200_000 // models, shift=0.5, seed=models, members=IN)
    expected = own if models >= OWN_VARIANCE else shared
    assert abs(area(online(values, of, IN), of, IN) - expected) < 0.012


@pytest.mark.parametrize("shift", [1, 2])
def test_power_approaches_that_of_the_truth(shift: float) -> None:
    of, values = bank(68, 3000, shift=shift, seed=0, members=(FORGET,))
    best = statistics.NormalDist().cdf(shift / math.sqrt(2))
    found = area(online(values, of, (FORGET,)), of, (FORGET,))
    assert best - 0.02 < found < best + 0.005


def test_the_deviation_of_out_is_that_of_out() -> None:
    # Members scatter three times as much, about the same mean.
    generator = np.random.default_rng(0)
    of, values = bank(20, 4000, shift=0, seed=0, members=(FORGET,))
    values = values + np.where(of == FORGET, generator.normal(0, 3, of.shape), 0)
    assert area(online(values, of, (FORGET,)), of, (FORGET,)) > 0.65

    # Faulty: members' deviation for both.
    out = generator.normal(size=(8, 4000))
    member = generator.normal(0, 3, out.shape)
    wide, narrow = gaussian(member, shared=True), gaussian(out, shared=True)
    fresh = [generator.normal(0, sigma, 4000) for sigma in (3, 1)]
    right, faulty = (
        Ranking(*(log_ratio(x, wide, (narrow[0], variance)) for x in fresh)).auc()
        for variance in (narrow[1], wide[1])
    )
    assert right > 0.65
    assert faulty < 0.55


def test_members_below_the_others_are_found_as_well() -> None:
    # An unlearned model may be surer or less sure of what it forgot: both tell.
    of, values = bank(20, 4000, shift=-1, seed=0, members=(FORGET,))
    assert area(online(values, of, (FORGET,)), of, (FORGET,)) > 0.7
    # Offline, the signal's own direction counts; the area is not turned into 1 - area.
    assert area(offline(values, of), of, (FORGET,)) < 0.3


@pytest.mark.parametrize("members", [(FORGET,), IN])
@pytest.mark.parametrize("models", [12, 4 * OWN_VARIANCE + 4])
def test_equal_values_are_at_chance(models: int, members: tuple[int, ...]) -> None:
    of = states(models, 30, seed=0)
    # Sums of thirds of such numbers are not exact.
    values = np.tile(np.random.default_rng(0).normal(size=30) / 3, (models, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scores in (online(values, of, members), offline(values, of)):
            assert np.isfinite(scores).all()
            assert area(scores, of, members) == 0.5


def test_values_that_say_it_all_are_told_apart() -> None:
    of = states(12, 30, seed=0)
    values = 1000.0 * (of == FORGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert area(online(values, of, (FORGET,)), of, (FORGET,)) == 1


def test_published_fits_of_correctness_are_not_numbers() -> None:
    # Faulty: variances of 0/1 correctness, without a least one.
    right = np.ones((4, 3))
    with np.errstate(all="ignore"):
        assert np.isnan(
            log_ratio(right, gaussian(right, shared=False), gaussian(right, shared=False))
        ).all()


def test_one_model_per_state_has_no_variance() -> None:
    of, values = bank(8, 50, shift=0, seed=0, members=(FORGET,))
    with pytest.raises(DataError, match="train at least three blocks"):
        online(values, of, (FORGET,))
    with pytest.raises(DataError, match="outside some block no model"):
        online(values[:4], of[:4], (FORGET,))
