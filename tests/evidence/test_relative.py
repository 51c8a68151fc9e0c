"""RMIA against probabilities, sample by sample and pair by pair."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from tests.evidence.populations_of_masks import area, bank
from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.evidence.relative import offline_ratios, online_ratios, relative_likelihood


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def mean_elsewhere(values: np.ndarray, of: np.ndarray, model: int, x: int, state: int) -> float:
    p = [
        sigmoid(float(values[m, x]))
        for m in range(len(of))
        if m // 4 != model // 4 and of[m, x] == state
    ]
    return sum(p) / len(p)


def test_ratios_are_computed_by_hand() -> None:
    of, values = bank(12, 7, shift=1, seed=0, members=(FORGET,))
    online, offline = online_ratios(values, of, (FORGET,)), offline_ratios(values, of, a=0.3)
    for model, x in np.ndindex(*of.shape):
        p = sigmoid(float(values[model, x]))
        out, member = (mean_elsewhere(values, of, model, x, state) for state in (OUT, FORGET))
        expected = math.log(p / ((out + member) / 2)), math.log(p / ((1.3 * out + 0.7) / 2))
        np.testing.assert_allclose((online[model, x], offline[model, x]), expected, atol=1e-12)


@pytest.mark.parametrize("gamma", [1, 1.5])
def test_scores_are_counted_pair_by_pair(gamma: float) -> None:
    generator = np.random.default_rng(0)
    # Rounded, so that some ratios are exactly gamma.
    ratios = generator.integers(-3, 4, size=(4, 9)) * (math.log(gamma) or 1)
    unseen = generator.integers(-3, 4, size=(4, 11)) * (math.log(gamma) or 1)
    found = relative_likelihood(ratios, unseen, gamma)
    for model, x in np.ndindex(*ratios.shape):
        larger = [bool(ratios[model, x] - z > math.log(gamma)) for z in unseen[model]]
        assert found[model, x] == sum(larger) / 11


def test_states_need_not_be_balanced() -> None:
    # Half of the models, but not exactly half: each state is drawn alone.
    generator = np.random.default_rng(0)
    of = np.where(generator.random((32, 2000)) < 0.5, np.uint8(OUT), np.uint8(RETAIN))
    p = np.where(of == OUT, 0.6, 0.9)
    values = np.log(p) - np.log1p(-p)
    found = p / np.exp(offline_ratios(values, of, a=1))
    np.testing.assert_allclose(found, 0.6, rtol=1e-12)

    # Faulty: the largest half of the signals, with those of members set to 0.
    zeroed = np.where(of == OUT, p, 0)
    half = np.sort(zeroed, axis=0)[16:].mean(axis=0)
    assert half.min() < 0.4
    assert half.mean() < 0.58


def test_saturated_probabilities_keep_their_ratios() -> None:
    of = states(12, 40, seed=0)
    shift = np.log(2) * (of == FORGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low = online_ratios(shift - 900, of, (FORGET,))
        near = online_ratios(shift - 30, of, (FORGET,))
        np.testing.assert_allclose(low, near, atol=1e-9)
        np.testing.assert_allclose(low[of == FORGET], math.log(2 / 1.5), atol=1e-9)
        assert np.isfinite(offline_ratios(shift - 900, of, a=0.3)).all()
        assert (online_ratios(900 + shift, of, (FORGET,)) == 0).all()


def test_a_mean_that_underflows_is_still_small() -> None:
    of = states(12, 40, seed=0)
    values = np.where(of == FORGET, 0.0, -2000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = offline_ratios(values, of, a=1)
    assert np.isfinite(found).all()
    assert area(found, of, (FORGET,)) == 1


def test_nothing_to_find_is_at_chance_and_members_are_not() -> None:
    for shift, low, high in ((0, 0.49, 0.51), (1, 0.58, 0.77)):
        of, values = bank(24, 2000, shift=shift, seed=0, members=(FORGET,))
        unseen = np.random.default_rng(1).normal(0, 5, 300) + np.random.default_rng(2).normal(
            size=(24, 300)
        )
        out = np.full(unseen.shape, OUT, np.uint8)
        for a in (0.3, 1.0):
            ratios = offline_ratios(values, of, a)
            scores = relative_likelihood(ratios, offline_ratios(unseen, out, a), gamma=1)
            assert low < area(scores, of, (FORGET,)) < high
        ratios = online_ratios(values, of, (FORGET,))
        scores = relative_likelihood(ratios, offline_ratios(unseen, out, a=1), gamma=1)
        assert low < area(scores, of, (FORGET,)) < high


def test_samples_without_reference_models_are_refused() -> None:
    of, values = bank(12, 5, shift=0, seed=0, members=(FORGET,))
    of[:, 0] = RETAIN
    with pytest.raises(DataError, match="1 samples of a bank: outside some block"):
        offline_ratios(values, of, a=0.3)
