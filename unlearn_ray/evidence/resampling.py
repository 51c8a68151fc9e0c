"""Nulls and intervals of any score of two populations, by relabelling and by halving.

- Null: the score of populations that are alike. If unlearned and retrained models were distributed
  alike, any of them could have been called unlearned; so the score is taken under permuted labels,
  at the same numbers of models.
- Interval: half of the models of each kind, drawn without replacement, vary by as much as all of
  them would if trained anew (delete-half jackknife; Shao and Wu, 1989). Unlike a bootstrap's, their
  samples have no ties, which histograms and thresholds would take for structure. A score of fewer
  models has another mean, so only the spread is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.keys import stable_seed

TIMES = 100

Rows = Int64[np.ndarray, " models"]


def permuted_rows(
    unlearned: int, retrained: int, times: int = TIMES
) -> Iterator[tuple[Rows, Rows]]:
    """Rows, among all models with the unlearned ones first, to be called unlearned or retrained."""
    generator = np.random.default_rng(stable_seed("permuted", unlearned, retrained))
    for _ in range(TIMES):
        order = generator.permutation(unlearned + retrained)
        yield order[:unlearned], order[unlearned:]


def halved_rows(unlearned: int, retrained: int) -> Iterator[tuple[Rows, Rows]]:
    """Rows, in the same order, of half of the unlearned and of half of the retrained models."""
    generator = np.random.default_rng(stable_seed("halved", unlearned, retrained))
    for _ in range(TIMES):
        yield (
            generator.permutation(unlearned)[: unlearned // 2],
            unlearned + generator.permutation(retrained)[: retrained // 2],
        )


def ends(
    value: Float64[np.ndarray, " columns"], halves: Float64[np.ndarray, "times columns"]
) -> Float64[np.ndarray, "2 columns"]:
    """95 % interval of a score's expected value at its numbers of models, from halves."""
    return np.asarray(value + np.quantile(halves, [0.025, 0.975], axis=0) - halves.mean(axis=0))


def null_of(
    permuted: Float64[np.ndarray, "times columns"],
) -> Float64[np.ndarray, "3 columns"]:
    """The null's mean and the ends of its 95 % range."""
    return np.stack([permuted.mean(axis=0), *np.quantile(permuted, [0.025, 0.975], axis=0)])


def evenly(samples: int, most: int) -> Int64[np.ndarray, " kept"]:
    """At most `most` of the samples, at even distances, whatever order they are in."""
    return np.unique(np.linspace(0, samples - 1, min(samples, most)).round().astype(np.int64))
