"""The difference of a number between two kinds of models, over the runs that they share.

Models of one split have the same forget set, so that the difference of two of them varies less than
either. Replicates of a split depend on each other through it: the differences of a split are
averaged first, and the interval is Student's t over the splits. With one split alone it is over its
replicates, and says nothing of other splits. Models that share no run are compared by Welch's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unlearn_ray.core.runs import Run

Over = Literal["seed", "replicate"]
Values = Mapping[Run, float]


@dataclass(frozen=True)
class Difference:
    """The second mean less the first.

    Attributes:
        first, second: the means, over the shared runs if it is paired.
        low, high: ends of the interval; NaN where it takes two of what it is over.
        counts: how many of these each kind of models has.
        over: what the interval is over.
        paired: whether it is of the differences within shared runs.
    """

    first: float
    second: float
    low: float
    high: float
    counts: tuple[int, int]
    over: Over
    paired: bool

    @property
    def value(self) -> float:
        """The difference."""
        return self.second - self.first

    @property
    def differs(self) -> bool:
        """Whether any of what it is over does."""
        return self.value != 0 or self.high > self.low


def difference(
    first: Values, second: Values, *, share_splits: bool = True, level: float = 0.05
) -> Difference:
    """The difference of two kinds of models, with its interval at 1 - `level`.

    Args:
        first, second: a number of each model, by its run; neither is empty.
        share_splits: whether the same seed is the same split of the same data in both.
        level: of the interval.
    """
    shared = sorted(first.keys() & second.keys()) if share_splits else []
    if not shared:
        return _unpaired(first, second, level)
    over, (one, other) = _units([{run: each[run] for run in shared} for each in (first, second)])
    differences = other - one
    value = float(other.mean() - one.mean())
    half = _half([differences], level)
    counts = (len(differences), len(differences))
    means = float(one.mean()), float(other.mean())
    return Difference(*means, value - half, value + half, counts, over, paired=True)


def _unpaired(first: Values, second: Values, level: float) -> Difference:
    over, (one, other) = _units([first, second])
    value, half = float(other.mean() - one.mean()), _half([one, other], level)
    counts = (len(one), len(other))
    means = float(one.mean()), float(other.mean())
    return Difference(*means, value - half, value + half, counts, over, paired=False)


def _units(kinds: Sequence[Values]) -> tuple[Over, list[np.ndarray]]:
    """The mean of each split; the replicates, where all are of one split."""
    by_split: list[dict[int, list[float]]] = []
    for values in kinds:
        found: dict[int, list[float]] = {}
        for run in sorted(values):
            found.setdefault(run.seed, []).append(values[run])
        by_split.append(found)
    if all(len(found) == 1 for found in by_split):
        return "replicate", [np.array(next(iter(found.values()))) for found in by_split]
    return "seed", [np.array([np.mean(of) for of in found.values()]) for found in by_split]


def _half(samples: Sequence[np.ndarray], level: float) -> float:
    """Half of the interval of a sum of means, with Welch's degrees of freedom; NaN without one."""
    from scipy import special  # `stats` takes half a second to import

    if min(map(len, samples)) < 2:
        return math.nan
    variances = [float(each.var(ddof=1)) / len(each) for each in samples]
    total = math.fsum(variances)
    if total == 0:
        return 0.0
    shares = sum(v**2 / (len(each) - 1) for v, each in zip(variances, samples, strict=True))
    return float(special.stdtrit(total**2 / shares, 1 - level / 2)) * math.sqrt(total)
