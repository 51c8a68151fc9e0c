"""Populations of a metric: how unlearned models differ from retrained ones.

Training is random: two retrained models of one split differ, too. So a method is judged by
populations of models of different training seeds, stratified by split:

- excess gap: half the energy distance of the unlearned and the retrained population,
  E|U - R| - E|U - U'| / 2 - E|R - R'| / 2 = integral of (F_U - F_R)^2. It is in the metric's unit,
  never negative, and 0 if and only if both are distributed alike
  (Szekely and Rizzo, "Energy statistics", 2013);
- p-values by permuting which models of a split are called unlearned.

Splits that have fewer than two models of either kind say nothing about a spread and do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64

from unlearn_ray.core.keys import stable_seed
from unlearn_ray.evidence.floors import LEAST_FLOOR, Least
from unlearn_ray.evidence.permutations import (
    Models,
    Stratum,
    Values,
    arrangements,
    p_value,
    smallest_p,
    strata_of,
)

RESAMPLES = 2_000


@dataclass(frozen=True)
class ExcessGap:
    """The excess gap of one metric; everything is NaN if no split has two models of each kind.

    Attributes:
        value: over all pairs of the samples, i = j included (a V-statistic): never negative, and 0
            exactly if the two samples are alike. It lies above the populations' excess gap by
            E|U - U'| / 2n + E|R - R'| / 2m on average.
        unbiased: over pairs i != j (a U-statistic): on average the populations' excess gap, so
            below 0 about as often as above if they are alike.
        low, high: 95 % bootstrap interval of the populations' excess gap. It is valid for
            populations that differ; whether they do is the p-value's question.
        null: the mean of `value` over the permutations.
        p_value: that populations which are alike give a value as large; never 0.
        smallest_p: the smallest p-value that these numbers of models can give.
    """

    value: float
    unbiased: float
    low: float
    high: float
    null: float
    p_value: float
    smallest_p: float


@dataclass(frozen=True)
class JointTest:
    """One test of all metrics together: are the unlearned models distributed as the retrained?

    Attributes:
        statistic: the sum over metrics of excess gap / spread; NaN if no split has two models of
            each kind.
        p_value: that populations which are alike give a statistic as large; never 0.
        smallest_p: the smallest p-value that these numbers of models can give.
    """

    statistic: float
    p_value: float
    smallest_p: float


def excess_gap(unlearned: Values, retrained: Values) -> ExcessGap:
    """The excess gap of one metric, averaged over splits.

    The interval resamples the models of each kind within each split and takes percentiles of the
    unbiased form, shifted by the resampling's own bias and widened for small numbers of models by
    sqrt(n / (n - 1)) t / z (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015).
    """
    (found,) = excess_gaps(
        *({split: of[:, None] for split, of in each.items()} for each in (unlearned, retrained))
    )
    return found


def excess_gaps(unlearned: Models, retrained: Models) -> list[ExcessGap]:
    """The excess gap of each metric by itself, whatever others were measured of a model.

    Args:
        unlearned, retrained: by split, a row for each replicate and a column for each metric; NaN
            where one was not measured.

    Returns:
        As of `excess_gap`, in the order of the columns, each in its metric's unit.
    """
    metrics = next((each.shape[1] for each in (*unlearned.values(), *retrained.values())), 1)
    found: dict[int, ExcessGap] = {}
    for columns in _measured_alike(metrics, unlearned, retrained):
        kinds = (
            {split: of[:, columns] for split, of in each.items()} for each in (unlearned, retrained)
        )
        found |= zip(columns, _excess_gaps(strata_of(*kinds), len(columns)), strict=True)
    return [found[number] for number in range(metrics)]


def _measured_alike(metrics: int, *kinds: Models) -> list[list[int]]:
    """The metrics in groups, each measured of the same models."""
    groups: dict[bytes, list[int]] = {}
    for number in range(metrics):
        missing = [np.isnan(each[:, number]) for models in kinds for each in models.values()]
        groups.setdefault(b"".join(each.tobytes() for each in missing), []).append(number)
    return [*groups.values()]


def _excess_gaps(strata: list[Stratum], metrics: int) -> list[ExcessGap]:
    if not strata:
        nothing = math.nan
        none = ExcessGap(nothing, nothing, nothing, nothing, nothing, nothing, smallest_p=1.0)
        return [none] * metrics
    permuted = np.mean([excess(each, labels) for each, labels in arrangements(strata)], axis=0)
    unbiased = np.mean([_unbiased(each) for each in strata], axis=0)
    low, high = _intervals(strata, permuted[0], unbiased)
    return [
        ExcessGap(
            value=float(permuted[0, number]),
            unbiased=float(unbiased[number]),
            low=float(low[number]),
            high=float(high[number]),
            null=float(permuted[:, number].mean()),
            p_value=p_value(permuted[:, number]),
            smallest_p=smallest_p(strata),
        )
        for number in range(metrics)
    ]


def joint_test(unlearned: Models, retrained: Models, least: Least = LEAST_FLOOR) -> JointTest:
    """Permutation test of several metrics: whole models are permuted, so metrics may depend.

    A metric's spread is the mean difference of two models of one kind and split, but at least
    `least`. It belongs to the statistic, and is taken anew under each permutation: with the
    observed spread throughout, the test would reject too often. The noise floor in its place, from
    the retrained models alone, would cost power.
    """
    strata = strata_of(unlearned, retrained)
    if not strata:
        return JointTest(math.nan, math.nan, smallest_p=1.0)
    gaps: Float64[np.ndarray, "ways metrics"] = np.zeros(1)
    apart: Float64[np.ndarray, "ways metrics"] = np.zeros(1)
    pairs = 0
    for each, labels in arrangements(strata):
        gaps = gaps + excess(each, labels) / len(strata)
        apart = apart + _within(each, labels) + _within(each, ~labels)
        pairs += sum(size * (size - 1) for size in (each.unlearned, each.retrained))
    permuted = (gaps / np.maximum(apart / pairs, least)).sum(axis=1)
    return JointTest(float(permuted[0]), p_value(permuted), smallest_p(strata))


def replicates_needed(splits: int, level: float) -> int:
    """The fewest replicates of each kind per split whose permutation test can reach `level`."""
    assert splits > 0
    needed = 2
    while (2 / math.comb(2 * needed, needed)) ** splits > level:
        needed += 1
    return needed


def excess(
    stratum: Stratum, labels: Bool[np.ndarray, "ways models"]
) -> Float64[np.ndarray, "ways metrics"]:
    """The excess gap, -w'Dw / 2 with weights 1/n and -1/m, under each arrangement of labels."""
    weights = np.where(labels, 1 / stratum.unlearned, -1 / stratum.retrained)
    return np.maximum(-_within(stratum, weights) / 2, 0)


def _within(stratum: Stratum, weights: np.ndarray) -> Float64[np.ndarray, "ways metrics"]:
    """w'Dw of each row of weights."""
    w = weights.astype(float)
    forms = [((w @ each) * w).sum(axis=1) for each in np.moveaxis(stratum.distances, 2, 0)]
    return np.stack(forms, axis=1)


def _unbiased(stratum: Stratum) -> Float64[np.ndarray, " metrics"]:
    n, m, apart = stratum.unlearned, stratum.retrained, stratum.distances
    own = apart[:n, :n].sum(axis=(0, 1)) / (n * (n - 1))
    others = apart[n:, n:].sum(axis=(0, 1)) / (m * (m - 1))
    return np.asarray(apart[:n, n:].mean(axis=(0, 1)) - own / 2 - others / 2)


def _intervals(
    strata: list[Stratum],
    value: Float64[np.ndarray, " metrics"],
    unbiased: Float64[np.ndarray, " metrics"],
) -> Float64[np.ndarray, "2 metrics"]:
    """95 % bootstrap intervals; resampling adds value - unbiased to the unbiased form."""
    from scipy import special  # `stats`, whose quantiles these are, takes half a second to import

    sizes = [size for each in strata for size in (each.unlearned, each.retrained)]
    drawn = _samples(*sizes)
    resampled = np.mean(
        [_resampled(each, *two) for each, two in zip(strata, drawn, strict=True)], axis=0
    )
    spread = math.sqrt(np.mean([size / (size - 1) for size in sizes]))
    freedom = sum(sizes) - len(sizes)
    widening = spread * special.stdtrit(freedom, 0.975) / special.ndtri(0.975)
    quantiles = np.quantile(resampled, [0.025, 0.975], axis=1)
    return np.asarray(np.maximum(unbiased + widening * (quantiles - value), 0))


@lru_cache(8)  # a table has the same sizes for every method and metric
def _samples(*sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each split, the share of each unlearned and retrained model in samples with replacement.

    Args:
        sizes: the number of unlearned models of each split, and of retrained ones.
    """
    generator = np.random.default_rng(stable_seed("bootstrap", *sizes))
    shares = [generator.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in sizes]
    return [*zip(shares[::2], shares[1::2], strict=True)]


def _resampled(
    stratum: Stratum,
    u: Float64[np.ndarray, "resamples unlearned"],
    r: Float64[np.ndarray, "resamples retrained"],
) -> Float64[np.ndarray, "metrics resamples"]:
    """The unbiased form of samples, given by the shares of the models."""
    n, m, apart = stratum.unlearned, stratum.retrained, stratum.distances
    between = _mean_distance(u, apart[:n, n:], r)
    own = _mean_distance(u, apart[:n, :n], u) * n / (n - 1)
    others = _mean_distance(r, apart[n:, n:], r) * m / (m - 1)
    return np.asarray(between - own / 2 - others / 2)


def _mean_distance(
    a: Float64[np.ndarray, "resamples n"],
    apart: Float64[np.ndarray, "n m metrics"],
    b: Float64[np.ndarray, "resamples m"],
) -> Float64[np.ndarray, "metrics resamples"]:
    """a'Db of each metric and of each row of both weights."""
    return np.asarray(np.einsum("krm,rm->kr", a @ np.moveaxis(apart, 2, 0), b))
