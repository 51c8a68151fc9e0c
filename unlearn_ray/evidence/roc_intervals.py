"""How far the numbers of a ROC curve vary with the models that were drawn, and by chance alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from unlearn_ray.evidence.held_out import Values, by_block
from unlearn_ray.evidence.masks import SIZE
from unlearn_ray.evidence.roc import Scores, reached

RESAMPLES = 1000

Rates = Float64[np.ndarray, "resamples points"]
Numbers = Float64[np.ndarray, " resamples"]


def half_widths(
    scores: Values,
    positive: Bool[np.ndarray, "models n"],
    negative: Bool[np.ndarray, "models n"],
    thresholds: Scores,
    bounds: Sequence[float],
    level: float,
    generator: np.random.Generator,
) -> Float64[np.ndarray, " numbers"]:
    """Half the length of the intervals of the area under the curve and of each bound's TPR.

    Whole blocks of models are resampled, since a block's scores share its models; fits are not
    repeated. The half-length is the standard error (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 6), times sqrt(B / (B - 1)) of B blocks, which frees it of bias, times
    Student's quantile for B - 1 degrees of freedom: percentiles of few blocks' resamples are too
    narrow.

    Args:
        scores: under each model, of each sample.
        positive, negative: which of them are of which kind.
        thresholds: of the curve that is resampled, in ascending order.
        bounds: the false-positive rates at which true-positive rates are read.
        level: 0.05 for intervals of 95 %.
        generator: draws the blocks.
    """
    from scipy import stats

    blocks = len(scores) // SIZE
    weights = generator.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES)
    fpr, tpr = (_rates(weights, scores, of, thresholds) for of in (negative, positive))
    numbers = [_areas(fpr, tpr), *(_read(fpr, tpr, bound) for bound in bounds)]
    errors = np.std(numbers, axis=1, ddof=1) * math.sqrt(blocks / (blocks - 1))
    return np.asarray(errors * stats.t.ppf(1 - level / 2, blocks - 1))


def prediction_range(drawn: Sequence[float], level: float) -> tuple[float, float, float]:
    """Mean of a normal sample, and the range of level 1 - `level` of one more draw from it."""
    from scipy import stats

    mean, deviation = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
    quantile = float(stats.t.ppf(1 - level / 2, len(drawn) - 1))
    half = quantile * deviation * math.sqrt(1 + 1 / len(drawn))
    return mean, mean - half, mean + half


def _rates(
    weights: Int64[np.ndarray, "resamples blocks"],
    scores: Values,
    chosen: Bool[np.ndarray, "models n"],
    thresholds: Scores,
) -> Rates:
    """The share of each resample's chosen scores at or above each threshold, from 0 to 1."""
    pairs = zip(by_block(scores), by_block(chosen), strict=True)
    counts = np.array([reached(np.sort(own[of]), thresholds) for own, of in pairs])
    found = (weights @ counts[:, ::-1]).astype(np.float64)
    found /= found[:, -1:]
    return np.pad(found, ((0, 0), (1, 0)))


def _areas(fpr: Rates, tpr: Rates) -> Numbers:
    """By the trapezoidal rule."""
    return np.asarray(np.trapezoid(tpr, fpr, axis=1))


def _read(fpr: Rates, tpr: Rates, bound: float) -> Numbers:
    """The TPR at this FPR, between points on the line that joins them."""
    return np.array([np.interp(bound, *curve) for curve in zip(fpr, tpr, strict=True)])
