"""Statistics of a sample under all models of a bank but one block's.

What is scored under a block's models is fitted on the other blocks: scores of models that a fit
has seen are biased. Leaving out one model alone is biased, too: its own state then has one model
fewer to be fitted on than the others, and its score tells which.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.masks import SIZE

Values = Float64[np.ndarray, "models n"]
PerBlock = Float64[np.ndarray, "blocks 1 n"]


def by_block(values: np.ndarray) -> np.ndarray:
    """(M, n) as (M / 4, 4, n)."""
    return values.reshape(-1, SIZE, values.shape[1])


def counts_elsewhere(chosen: Bool[np.ndarray, "models n"]) -> PerBlock:
    """How many models outside each block are chosen for each sample.

    Raises:
        DataError: none are.
    """
    inside = by_block(chosen).sum(axis=1, keepdims=True, dtype=np.float64)
    counts = np.asarray(inside.sum(axis=0) - inside)
    missing = np.count_nonzero((counts == 0).any(axis=(0, 1)))
    if missing:
        raise DataError(
            f"{missing:,} samples of a bank",
            "outside some block no model has them in the state to be fitted",
            "train more blocks of models",
        )
    return counts


def sums_elsewhere(values: Values, chosen: Bool[np.ndarray, "models n"]) -> PerBlock:
    """Sums of each sample's values over the chosen models outside each block."""
    inside = np.add.reduce(by_block(values), axis=1, keepdims=True, where=by_block(chosen))
    return np.asarray(inside.sum(axis=0) - inside)


def means_elsewhere(values: Values, chosen: Bool[np.ndarray, "models n"]) -> PerBlock:
    """Means of each sample's values over the chosen models outside each block.

    However many those are: states need not be balanced.

    Raises:
        DataError: there are none.
    """
    return np.asarray(sums_elsewhere(values, chosen) / counts_elsewhere(chosen))
