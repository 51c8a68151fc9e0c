"""KLOM: divergence of a sample's confidences under unlearned models from those under retrained.

Georgiev et al., "Attribute-to-Delete: Machine Unlearning via Datamodel Matching", ICLR 2025: KL
divergence of margins.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

BINS = 20
LARGEST = 100.0
EMPTY = 1e-5
# Samples at a time: memory stays small beside the confidences themselves.
_CHUNK = 4096


def klom(
    unlearned: Float64[np.ndarray, "models n"], retrained: Float64[np.ndarray, "others n"]
) -> Float64[np.ndarray, " n"]:
    """KL(unlearned || retrained) of each sample's confidences, in nats.

    Confidences are clipped to [-100, 100] and counted in 20 equal bins from the smallest of both
    kinds of models to the largest, which is in the last bin. A bin that is empty under the
    retrained models has probability 1e-5; one that is empty under the unlearned contributes
    nothing.
    """
    columns = range(0, unlearned.shape[1], _CHUNK)
    parts = [_klom(unlearned[:, c : c + _CHUNK], retrained[:, c : c + _CHUNK]) for c in columns]
    return np.concatenate([np.empty(0), *parts])


def _klom(
    unlearned: Float64[np.ndarray, "models n"], retrained: Float64[np.ndarray, "others n"]
) -> Float64[np.ndarray, " n"]:
    kinds = [np.clip(each.astype(float), -LARGEST, LARGEST) for each in (unlearned, retrained)]
    low = np.minimum(*(each.min(axis=0) for each in kinds))
    high = np.maximum(*(each.max(axis=0) for each in kinds))
    width = np.where(high > low, (high - low) / BINS, 1.0)
    p, q = (_shares(((each - low) / width).astype(np.int64)) for each in kinds)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / np.maximum(q, EMPTY)), 0)
    return np.asarray(terms.sum(axis=1))


def _shares(bins: Int64[np.ndarray, "models n"]) -> Float64[np.ndarray, "n bins"]:
    """The share of the models in each bin."""
    models, samples = bins.shape
    cells = np.minimum(bins, BINS - 1) + BINS * np.arange(samples)
    counts = np.bincount(cells.ravel(), minlength=BINS * samples)
    return np.asarray(counts.reshape(samples, BINS) / models)
