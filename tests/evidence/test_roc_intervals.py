"""Intervals of ROC numbers against resampling scores one by one, and their coverage."""

from __future__ import annotations

import numpy as np
from scipy import stats

from unlearn_ray.evidence.masks import FORGET, OUT, states
from unlearn_ray.evidence.roc import Ranking
from unlearn_ray.evidence.roc_intervals import RESAMPLES, half_widths, prediction_range


def scored(models: int, samples: int, seed: int, common: float) -> tuple[np.ndarray, np.ndarray]:
    """States and scores that tell members the better the larger a block's own effect is."""
    of = states(models, samples, seed)
    generator = np.random.default_rng(seed)
    effect = np.repeat(generator.normal(1, common, models // 4), 4)[:, None]
    return of, generator.normal(size=of.shape) + effect * (of == FORGET)


def halves(of: np.ndarray, scores: np.ndarray, bounds: list[float], seed: int) -> np.ndarray:
    members, out = of == FORGET, of == OUT
    at = Ranking(scores[members], scores[out]).thresholds()
    return half_widths(scores, members, out, at, bounds, 0.05, np.random.default_rng(seed))


def test_blocks_are_resampled_as_if_one_by_one() -> None:
    of, scores = scored(24, 200, seed=0, common=0.5)
    found = halves(of, scores, [0.05], seed=0)
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        blocks = generator.integers(6, size=6)
        rows = np.concatenate([np.arange(4 * b, 4 * b + 4) for b in blocks])
        ranking = Ranking(scores[rows][of[rows] == FORGET], scores[rows][of[rows] == OUT])
        drawn.append((ranking.auc(), ranking.tpr_at(0.05)))
    expected = np.std(drawn, axis=0, ddof=1) * np.sqrt(6 / 5) * stats.t.ppf(0.975, 5)
    np.testing.assert_allclose(found, expected, rtol=0.15)
    assert RESAMPLES >= 400


def test_intervals_of_few_blocks_cover_the_truth() -> None:
    truth = np.mean([area(*scored(400, 20, seed, 0.5)) for seed in range(20)])
    inside = []
    for seed in range(100, 300):
        of, scores = scored(20, 20, seed, 0.5)
        half = halves(of, scores, [], seed)
        inside.append(bool(abs(area(of, scores) - truth) <= half[0]))
    assert 0.90 <= np.mean(inside) <= 0.99


def area(of: np.ndarray, scores: np.ndarray) -> float:
    return Ranking(scores[of == FORGET], scores[of == OUT]).auc()


def test_blocks_that_are_all_alike_have_no_spread() -> None:
    of, scores = scored(4, 50, seed=0, common=0)
    of, scores = np.tile(of, (5, 1)), np.tile(scores, (5, 1))
    assert (halves(of, scores, [0.1], seed=0) < 1e-12).all()


def test_the_range_holds_one_more_draw() -> None:
    generator = np.random.default_rng(0)
    inside = []
    for drawn in generator.normal(50, 2, size=(2000, 21)):
        mean, low, high = prediction_range(drawn[:20].tolist(), level=0.05)
        assert mean == np.mean(drawn[:20])
        inside.append(low <= drawn[20] <= high)
    assert abs(np.mean(inside) - 0.95) < 0.02
