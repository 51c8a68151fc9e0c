"""Three-sample test: are unlearned models nearer to retrained ones than to the original ones?

A model is the vector of its confidences; populations are compared by their energy distance, as in
a test of relative similarity (Bounliphone et al., ICLR 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.permutations import Stratum, arrangements, p_value
from unlearn_ray.evidence.populations import excess
from unlearn_ray.evidence.resampling import Rows

# NaN between models that are made one from the other, and of a model from itself.
Distances = Float64[np.ndarray, "models models"]


@dataclass(frozen=True)
class Nearness:
    """Where the unlearned models are, from the original (-1) to the retrained models (1).

    Attributes:
        value: (D(U, O) - D(U, R)) / D(O, R), with unbiased energy distances D; NaN if D(O, R) is 0.
        low, high: its interval.
        null_low, null_high: the range, around 1, of models distributed as the retrained.
        apart_p: p-value of the original and the retrained models being alike: if they are, nothing
            can be nearer to either.
    """

    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    apart_p: float


def nearness(
    unlearned: Float64[np.ndarray, "models n"],
    retrained: Float64[np.ndarray, "retrained n"],
    original: Float64[np.ndarray, "models n"],
    level: float = 0.05,
) -> Nearness:
    """Compare at least two models of each kind.

    Args:
        unlearned, original: confidences; the i-th unlearned model is made from the i-th original,
            so such pairs, which are more alike than independent ones, do not count.
        retrained: confidences.
        level: 1 - the interval's confidence.
    """
    from scipy.spatial.distance import pdist, squareform

    n, m = len(unlearned), len(retrained)
    distances = squareform(pdist(np.concatenate([unlearned, retrained, original])))
    u, r, o = np.split(np.arange(2 * n + m), [n, n + m])
    rows = np.concatenate([o, r])
    stratum = Stratum(distances[np.ix_(rows, rows)][..., None], n, m)
    ((_, labels),) = arrangements([stratum])
    origin = np.concatenate([np.arange(n), -1 - np.arange(m), np.arange(n)])
    distances[origin[:, None] == origin] = math.nan
    scale = _energy(distances, o, r) or math.nan
    value = (_energy(distances, u, o) - _energy(distances, u, r)) / scale
    half, range_ = _half_widths(distances, u, r, o, value, level)
    return Nearness(
        value,
        value - half / scale,
        value + half / scale,
        1 - range_ / scale,
        1 + range_ / scale,
        p_value(excess(stratum, labels)[:, 0]),
    )


def _mean(distances: Distances, first: Rows, second: Rows) -> float:
    return float(np.nanmean(distances[np.ix_(first, second)]))


def _energy(distances: Distances, first: Rows, second: Rows) -> float:
    own = _mean(distances, first, first) + _mean(distances, second, second)
    return 2 * _mean(distances, first, second) - own


def _half_widths(
    distances: Distances, u: Rows, r: Rows, o: Rows, value: float, level: float
) -> tuple[float, float]:
    """Of the interval and of the null's range, before division by D(O, R).

    Both by the projections of D(U, O) - D(U, R) - value D(O, R), whose mean is 0, onto single
    models; those onto u_i and o_i, which depend on each other, are taken together. In the null,
    where u is one more r, those onto o_i cancel out.
    """

    def means(first: Rows, second: Rows) -> Float64[np.ndarray, " first"]:
        return np.asarray(2 * np.nanmean(distances[np.ix_(first, second)], axis=1))

    away_o, away_r = means(o, r) - means(o, o), means(r, o) - means(r, r)
    paired = means(u, o) - means(u, r) + means(o, u) - means(o, o) - value * away_o
    alone = means(r, r) - means(r, u) - value * away_r
    spreads = [float(each.var(ddof=1)) for each in (paired, alone, away_r)]
    n, m = len(u), len(r)
    return (
        _half_width([spreads[0] / n, spreads[1] / m], [n - 1, m - 1], level),
        _half_width([spreads[2] / n + spreads[2] / m], [m - 1], level),
    )


def _half_width(variances: list[float], freedoms: list[int], level: float) -> float:
    """t times the standard error, with Welch's degrees of freedom."""
    from scipy import stats

    total = sum(variances)
    if total == 0:
        return 0.0
    shares = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return float(stats.t.ppf(1 - level / 2, total**2 / shares)) * math.sqrt(total)
