"""Permutation tests of two kinds of models that are stratified by split.

Under the hypothesis that both kinds are distributed alike within each split, every choice of which
models of a split to call unlearned is as likely as the observed one. The p-value is the share of
these arrangements whose statistic is at least the observed: all of them if they are few, else the
observed one and a fixed number of drawn ones (Phipson and Smyth, "Permutation P-values Should
Never Be Zero", 2010).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64

from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.core.keys import stable_seed

# By split seed: a metric's value, or several metrics' values, of each replicate. Row i of every
# kind of model belongs to the same training seed; NaN where there is no such model.
Values = Mapping[int, Float64[np.ndarray, " replicates"]]
Models = Mapping[int, Float64[np.ndarray, "replicates metrics"]]

# Arrangements are enumerated up to this number; else so many are drawn.
EXACT = 10_000
DRAWN = 999
# Statistics that are equal but for rounding count as equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Stratum:
    """One split's models, the unlearned ones first.

    Attributes:
        distances: |x_i - x_j| of every two models, by metric.
        unlearned, retrained: the number of models of each kind.
    """

    distances: Float64[np.ndarray, "models models metrics"]
    unlearned: int
    retrained: int

    @property
    def ways(self) -> int:
        """In how many ways the labels can be arranged."""
        return math.comb(self.unlearned + self.retrained, self.unlearned)


def strata_of(unlearned: Values | Models, retrained: Values | Models) -> list[Stratum]:
    """The splits that have at least two models of each kind."""
    strata = []
    for split in sorted(unlearned.keys() & retrained.keys()):
        kinds = [present(unlearned[split]), present(retrained[split])]
        if min(map(len, kinds)) > 1:
            strata.append(Stratum(distances_of(np.concatenate(kinds)), *map(len, kinds)))
    return strata


def present(values: Float64[np.ndarray, ...]) -> Float64[np.ndarray, "models metrics"]:
    """The rows without NaN, metrics in columns.

    Raises:
        UnlearnRayError: a value is infinite.
    """
    rows = np.asarray(values, dtype=float)
    if np.isinf(rows).any():
        raise UnlearnRayError(
            "metric of a replicate", "is infinite", "leave such models out by a value of NaN"
        )
    rows = rows if rows.ndim == 2 else rows[:, None]
    return np.asarray(rows[~np.isnan(rows).any(axis=1)])


def distances_of(
    rows: Float64[np.ndarray, "models metrics"],
) -> Float64[np.ndarray, "models models metrics"]:
    """|x_i - x_j| of every two models, by metric."""
    return np.asarray(np.abs(rows[:, None] - rows[None]))


def arrangements(strata: list[Stratum]) -> list[tuple[Stratum, Bool[np.ndarray, "ways models"]]]:
    """Each split with the labels "unlearned" under all arrangements; the first is the observed."""
    sizes = tuple((each.unlearned, each.unlearned + each.retrained) for each in strata)
    return [*zip(strata, _labels(sizes), strict=True)]


@lru_cache(8)  # a table has the same sizes for every method and metric
def _labels(sizes: tuple[tuple[int, int], ...]) -> list[Bool[np.ndarray, "ways models"]]:
    """For each split, by how many of how many models are unlearned, all arrangements."""
    if math.prod(math.comb(models, chosen) for chosen, models in sizes) <= EXACT:
        choices = [_all_labels(*each) for each in sizes]
        ways = np.indices([len(each) for each in choices]).reshape(len(choices), -1)
        return [each[way] for each, way in zip(choices, ways, strict=True)]
    generator = np.random.default_rng(stable_seed("permutations", *np.ravel(sizes).tolist()))
    return [_drawn_labels(*each, generator) for each in sizes]


def _all_labels(chosen: int, models: int) -> Bool[np.ndarray, "ways models"]:
    """All choices of some of the models, the first ones first."""
    labels = np.zeros((math.comb(models, chosen), models), dtype=bool)
    np.put_along_axis(labels, np.array([*combinations(range(models), chosen)]), True, axis=1)
    return labels


def _drawn_labels(
    chosen: int, models: int, generator: np.random.Generator
) -> Bool[np.ndarray, "ways models"]:
    observed = np.arange(models) < chosen
    drawn = generator.permuted(np.tile(observed, (DRAWN, 1)), axis=1)
    return np.concatenate([observed[None], drawn])


def p_value(permuted: Float64[np.ndarray, " ways"]) -> float:
    """The share of arrangements, the observed one among them, with a statistic as large."""
    return float(np.mean(permuted >= permuted[0] - _ROUNDING * permuted.max()))


def smallest_p(strata: list[Stratum]) -> float:
    """The smallest p-value of a statistic that does not depend on which kind is which.

    Exchanging both kinds leaves such a statistic as it is, so in a split of equal numbers no
    arrangement is alone in having the largest.
    """
    smallest = math.prod((1 + (each.unlearned == each.retrained)) / each.ways for each in strata)
    exact = math.prod(each.ways for each in strata) <= EXACT
    return smallest if exact else max(smallest, 1 / (DRAWN + 1))
