"""Tug of War, and the confidence attack that one of its forms counts.

Zhao et al., "What Makes Unlearning Hard and What to Do About It", NeurIPS 2024.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def tug_of_war(
    first: Float64[np.ndarray, "*models 3"], second: Float64[np.ndarray, "*models 3"]
) -> Float64[np.ndarray, "*models"]:
    """Product of 1 - |difference| over three rates in [0, 1]; 1 if they are equal."""
    return np.asarray(np.prod(1 - np.abs(first - second), axis=-1))


def called_unseen(
    forget: Float64[np.ndarray, " n"],
    retain: Float64[np.ndarray, " r"],
    test: Float64[np.ndarray, " t"],
) -> float:
    """The share of the forget samples that a confidence attack calls unseen.

    The attack has one threshold: the confidence, of those observed, that best separates retain from
    test samples by balanced accuracy, the lowest in case of a tie. Samples below it are unseen.
    """
    candidates = np.unique(np.concatenate([retain, test]))
    members = len(retain) - np.searchsorted(np.sort(retain), candidates)
    unseen = np.searchsorted(np.sort(test), candidates)
    threshold = candidates[np.argmax(members * len(test) + unseen * len(retain))]
    return float((forget < threshold).mean())
