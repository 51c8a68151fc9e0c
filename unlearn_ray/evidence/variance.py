"""Variance components: how much of a metric's spread comes from which seed, and what that costs.

A metric of one method varies with the split, with the training seed within a split, and with the
unlearning seed within a trained model. In the nested random-effects model

    x_stu = mean + S_s + T_st + U_stu

the components are the variances of S, T and U, estimated from the mean squares of an analysis of
variance with their expected values for unequal numbers (Searle, Casella and McCulloch, "Variance
Components", 1992, section 5.2). From them follows how many of each a stated precision needs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

# By split seed, then by training seed: the metric's value under each unlearning seed.
Nested = Mapping[int, Mapping[int, Float64[np.ndarray, " unlearnings"]]]

# More replicates than anyone trains.
MOST = 100_000


@dataclass(frozen=True)
class Components:
    """Variances of a metric, in its squared unit.

    Attributes:
        split: between splits; NaN with one split alone.
        training: between training seeds of one split; NaN if no split has two: it is then part of
            `split`.
        unlearning: between unlearning seeds of one trained model; NaN if none has two: it is then
            part of `training`.
        negative: names of those that were estimated below 0 and set to 0.
    """

    split: float
    training: float
    unlearning: float
    negative: tuple[str, ...]

    @property
    def within_split(self) -> float:
        """The variance between replicates of one split, each with one unlearning seed."""
        return self.training + (0.0 if math.isnan(self.unlearning) else self.unlearning)


def variance_components(values: Nested) -> Components:
    """The components of one metric of one method, or of the retrained models."""
    splits = [
        [np.asarray(each, dtype=float) for each in models.values() if len(each)]
        for models in values.values()
    ]
    splits = [models for models in splits if models]
    between, models_within, within = _sums_of_squares(splits)
    counts = [np.array([len(each) for each in models]) for models in splits]
    total, models = sum(c.sum() for c in counts), sum(map(len, counts))
    # Sums over splits of n_st^2 / n_s, over all of n_st^2, and over splits of n_s^2.
    by_split = sum(float((c**2).sum() / c.sum()) for c in counts)
    by_model, squared = (sum(float(f(c)) for c in counts) for f in (_squares, _squared_sum))
    unlearning = _solved(within, total - models, total - models)
    training = _solved(
        models_within, models - len(splits), total - by_split, (unlearning, models - len(splits))
    )
    freedom = len(splits) - 1
    split = _solved(
        between,
        freedom,
        total - squared / total,
        (unlearning, freedom),
        (training, by_split - by_model / total),
    )
    named = {"split": split, "training": training, "unlearning": unlearning}
    negative = tuple(name for name, value in named.items() if value < 0)
    kept = {name: 0.0 if name in negative else value for name, value in named.items()}
    return Components(**kept, negative=negative)


def _squares(counts: Int64[np.ndarray, " models"]) -> float:
    return float((counts**2).sum())


def _squared_sum(counts: Int64[np.ndarray, " models"]) -> float:
    return float(counts.sum()) ** 2


def _solved(
    squares: float, freedom: float, coefficient: float, *known: tuple[float, float]
) -> float:
    """A component, from a sum of squares that it enters by `coefficient`; NaN without freedom.

    Args:
        squares: E[squares] = coefficient * component + sum of known components * coefficients.
        known: the other components, of which those that are NaN are none, and coefficients.
    """
    if freedom == 0:
        return math.nan
    others = sum(value * weight for value, weight in known if not math.isnan(value))
    return float((squares - others) / coefficient)


def _sums_of_squares(splits: Sequence[Sequence[np.ndarray]]) -> tuple[float, float, float]:
    """Between splits, between models within splits, and within models."""
    everything = np.concatenate([each for models in splits for each in models])
    mean, between, models_within, within = everything.mean(), 0.0, 0.0, 0.0
    for models in splits:
        together = np.concatenate(models)
        between += len(together) * (together.mean() - mean) ** 2
        for each in models:
            models_within += len(each) * (each.mean() - together.mean()) ** 2
            within += float(((each - each.mean()) ** 2).sum())
    return float(between), float(models_within), within


def half_width(
    components: Components, splits: int, replicates: int, unlearnings: int = 1, level: float = 0.05
) -> float:
    """Half of the expected interval of a method's mean over all splits that there could be.

    Its variance is (S + T / r + U / (r u)) / s with s - 1 degrees of freedom. Without a split
    component (NaN), or of one split alone, it is the interval of the mean of these very splits: the
    variance is T / (s r) + U / (s r u), with s (r - 1) degrees of freedom.
    """
    from scipy import stats

    unlearning = 0.0 if math.isnan(components.unlearning) else components.unlearning
    within = (components.training + unlearning / unlearnings) / replicates
    over_splits = splits > 1 and not math.isnan(components.split)
    variance = (within + (components.split if over_splits else 0.0)) / splits
    freedom = splits - 1 if over_splits else splits * (replicates - 1)
    if freedom < 1:
        return math.inf
    return float(stats.t.ppf(1 - level / 2, freedom)) * math.sqrt(variance)


def replicates_for(
    components: Components, target: float, splits: int, level: float = 0.05
) -> int | None:
    """The fewest replicates per split whose half-width is at most `target`.

    Returns:
        None if no number would do, because the splits' own spread is too large: more splits are
        needed.
    """
    return _fewest(lambda count: half_width(components, splits, count, level=level) <= target)


def splits_for(
    components: Components, target: float, replicates: int, level: float = 0.05
) -> int | None:
    """The fewest splits, of so many replicates each, whose half-width is at most `target`."""
    first = 1 if math.isnan(components.split) else 2
    return _fewest(
        lambda count: half_width(components, count, replicates, level=level) <= target, first
    )


def detectable_gap(
    spread: float, splits: int, replicates: int, level: float = 0.05, power: float = 0.8
) -> float:
    """The smallest excess gap, in the metric's unit, that its p-value finds with so much power.

    For normal populations that differ by a shift. The test then has nearly the power of an F-test
    of one shift per split (the excess gap has no sign, so splits that agree in it add no power):
    for 0.8 it has 0.74 or more in simulations, but 0.6 at 4 replicates of one split, whose p-values
    are few.

    Args:
        spread: standard deviation of the metric between replicates of one split.
        splits, replicates: of each kind of models, replicates per split.

    Returns:
        Infinity if the permutation test cannot reach the level with so few.
    """
    from scipy import optimize, stats

    if (2 / math.comb(2 * replicates, replicates)) ** splits > level:
        return math.inf
    freedoms = splits, splits * (2 * replicates - 2)
    critical = float(stats.f.ppf(1 - level, *freedoms))
    per_square = splits * replicates / 2

    def missing(shift: float) -> float:
        return power - float(stats.ncf.sf(critical, *freedoms, per_square * shift**2))

    shift = float(optimize.brentq(missing, 1e-6, 100.0))
    return spread * gap_of_shift(shift)


def gap_of_shift(shift: float) -> float:
    """Excess gap of two normal populations of standard deviation 1 that differ by a shift."""
    from scipy import stats

    root = math.sqrt(2)
    return float(stats.foldnorm.mean(shift / root, scale=root)) - 2 / math.sqrt(math.pi)


def _fewest(suffices: Callable[[int], bool], first: int = 1) -> int | None:
    """The smallest number that suffices, if all larger ones do; None if MOST does not."""
    if not suffices(MOST):
        return None
    return bisect_left(range(first, MOST), True, key=suffices) + first
