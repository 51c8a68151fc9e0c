"""Forgetting quality of the NeurIPS 2023 competition: how well one sample's confidences separate.

Triantafillou et al., "Are We Making Progress in Unlearning?", 2024, and its public code. Per forget
sample, attacks call a model unlearned or retrained by the sample's confidence under it; the best of
them gives epsilon, a lower bound of the privacy loss, and epsilon gives points.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64

DELTA = 1e-5
# Of an attack without errors, and of confidences that hardly vary under one kind of models.
LARGEST = 50.0
_HARDLY = 0.01
# An interval's ends are sought this far from where the narrower kind's extremes would put them.
_REACH = 2.0
_BUCKET = 0.5
# Pairs of thresholds at a time.
_CHUNK = 4_000_000


def points(epsilon: Float64[np.ndarray, " n"], models: int) -> Float64[np.ndarray, " n"]:
    """2^-k for epsilon in [k/2, (k+1)/2); 0 beyond ceil(ln(models - 1)), which they cannot tell."""
    bucket = np.floor(epsilon / _BUCKET)
    most = math.ceil(math.log(models - 1)) if models > 1 else 0
    return np.where((bucket + 1) * _BUCKET <= most, 0.5**bucket, 0.0)


def epsilons(
    unlearned: Float64[np.ndarray, "models n"], retrained: Float64[np.ndarray, "models n"]
) -> Float64[np.ndarray, " n"]:
    """Epsilon of each sample, from as many models of either kind.

    An attack is a single threshold, above which models are of the kind with the larger median, or
    an interval, within which they are of the kind with the narrower range w: from l to r with r
    within 2 of its largest value and l within 2 of r - w. An attack that errs at the rates FPR and
    FNR has epsilon max(log((1 - delta - FPR) / FNR), log((1 - delta - FNR) / FPR)), not below 0; it
    is infinite if both are 0, and if only one is, the attack does not count. Without any attack
    that counts epsilon is 0.

    The public code tries thresholds on a grid; here all that differ in what they contain are tried,
    the limit of a fine grid.
    """
    assert unlearned.shape == retrained.shape
    step = max(1, _CHUNK // (2 * len(unlearned)) ** 2)
    columns = range(0, unlearned.shape[1], step)
    parts = [_epsilons(unlearned[:, c : c + step], retrained[:, c : c + step]) for c in columns]
    return np.concatenate([np.empty(0), *parts])


def _epsilons(
    unlearned: Float64[np.ndarray, "models n"], retrained: Float64[np.ndarray, "models n"]
) -> Float64[np.ndarray, " n"]:
    table = _table(len(unlearned))
    found = np.maximum(
        _best_threshold(table, unlearned, retrained), _best_interval(table, unlearned, retrained)
    )
    widths = np.sort([np.ptp(unlearned, axis=0), np.ptp(retrained, axis=0)], axis=0)
    peaked = widths[0] < _HARDLY * widths[1]
    return np.where(peaked, LARGEST, np.clip(found, 0, LARGEST))


def _table(models: int) -> Float64[np.ndarray, "false_positives false_negatives"]:
    """Epsilon by the numbers of errors; -1 for attacks that do not count."""
    rates = np.arange(models + 1) / models
    fpr, fnr = rates[:, None], rates[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr)
    table = np.where(fpr * fnr == 0, -1.0, np.fmax(np.fmax(*both), 0))
    table[0, 0] = np.inf
    return table


def _best_threshold(
    table: Float64[np.ndarray, "false_positives false_negatives"],
    unlearned: Float64[np.ndarray, "models n"],
    retrained: Float64[np.ndarray, "models n"],
) -> Float64[np.ndarray, " n"]:
    larger = np.median(retrained, axis=0) > np.median(unlearned, axis=0)
    values, positive = _sorted(unlearned, retrained, larger)
    below = np.cumsum(positive, axis=0) - positive
    negatives_below = np.arange(len(values))[:, None] - below
    starts = _starts(values)
    each = table[len(unlearned) - negatives_below, below]
    return np.asarray(np.where(starts, each, -1.0).max(axis=0))


def _best_interval(
    table: Float64[np.ndarray, "false_positives false_negatives"],
    unlearned: Float64[np.ndarray, "models n"],
    retrained: Float64[np.ndarray, "models n"],
) -> Float64[np.ndarray, " n"]:
    """Over intervals from the i-th to the j-th smallest value.

    With r in [x_j, x_j+1) and l in (x_i-1, x_i], such r and l exist if r can lie between
    max(x_j, largest - 2, x_i-1 + w - 2) and min(x_j+1, largest + 2, x_i + w + 2).
    """
    models = len(unlearned)
    narrower = np.ptp(retrained, axis=0) <= np.ptp(unlearned, axis=0)
    values, positive = _sorted(unlearned, retrained, narrower)
    peak = np.where(narrower, retrained, unlearned)
    width, top = np.ptp(peak, axis=0), peak.max(axis=0)
    edge = np.full((1, values.shape[1]), np.inf)
    before, after = np.concatenate([-edge, values[:-1]]), np.concatenate([values[1:], edge])
    low = np.maximum(top - _REACH, before + width - _REACH)
    high = np.minimum(top + _REACH, values + width + _REACH)
    upto = np.cumsum(positive, axis=0)
    negatives = np.arange(1, len(values) + 1)[:, None] - upto
    # Position in the table: false positives * (models + 1) + false negatives.
    end = negatives * (models + 1) - upto + models
    start = np.concatenate([np.zeros_like(end[:1]), end[:-1] - models])
    # Only the smaller values can begin an interval, and only the larger ones end it.
    begun = np.count_nonzero((low < top + _REACH).any(axis=1))
    ended = np.count_nonzero((after <= top - _REACH).all(axis=1))
    i, j = np.s_[:begun, None], np.s_[None, ended:]
    possible = np.maximum(values[j], low[i]) < np.minimum(after[j], high[i])
    possible &= _starts(values)[i] & (values[i] <= values[j])
    each = table.ravel()[np.where(possible, end[j] - start[i], 0)]
    return np.asarray(np.where(possible, each, -1.0).max(axis=(0, 1)))


def _sorted(
    unlearned: Float64[np.ndarray, "models n"],
    retrained: Float64[np.ndarray, "models n"],
    retrained_positive: Bool[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, "both n"], Int64[np.ndarray, "both n"]]:
    """All values in ascending order, and 1 where they are of the positive kind."""
    values = np.concatenate([unlearned, retrained])
    order = np.argsort(values, axis=0, kind="stable")
    positive = (order >= len(unlearned)) == retrained_positive
    return np.take_along_axis(values, order, axis=0), positive.astype(np.int64)


def _starts(values: Float64[np.ndarray, "both n"]) -> Bool[np.ndarray, "both n"]:
    """Whether a value is the first of those that are equal to it."""
    first = np.ones((1, values.shape[1]), dtype=bool)
    return np.concatenate([first, values[1:] > values[:-1]])
