"""Likelihood-ratio attacks with one Gaussian per sample and state.

Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022, algorithm 1
(online) and its offline variant; Hayes et al., "Inexact Unlearning Needs More Careful Evaluations
to Avoid a False Sense of Privacy", 2024, for unlearned models (U-LiRA).

Each block of models is scored by fits on all other blocks. A sample's mean is always its own. Its
variance is its own from 64 models per state on; below, where it would be too noisy, all samples
share one per state: the squared deviations from each sample's own mean, summed over samples and
divided by the sum of their degrees of freedom (models - 1 each).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.held_out import (
    PerBlock,
    Values,
    by_block,
    counts_elsewhere,
    sums_elsewhere,
)
from unlearn_ray.evidence.masks import OUT, States, among

# Fewest models per state for a variance of each sample's own.
OWN_VARIANCE = 64
# Below the rounding of any signal: values this close are equal.
SMALLEST_DEVIATION = 1e-6


class Gaussian(NamedTuple):
    """Mean and standard deviation of each sample outside each block; one deviation if shared."""

    mean: PerBlock
    deviation: Float64[np.ndarray, "blocks 1 #n"]


def online(values: Values, states: States, members: tuple[int, ...]) -> Values:
    """log N(value; members) - log N(value; OUT), larger for likelier members.

    Args:
        values: the signal of each model for each sample.
        states: of each sample under each model, in blocks of four models.
        members: the states that are to be told from OUT.

    Raises:
        DataError: there are too few models to fit a variance.
    """
    centred = values - values[0]
    chosen = [among(states, members), states == OUT]
    counts = [counts_elsewhere(of) for of in chosen]
    shared = min(of.min() for of in counts) < OWN_VARIANCE
    fits = (_fit(centred, of, n, shared) for of, n in zip(chosen, counts, strict=True))
    member, out = fits
    blocks = by_block(centred)
    ratio = _squared_distance(blocks, out)
    ratio -= _squared_distance(blocks, member)
    ratio /= 2
    ratio += np.log(out.deviation) - np.log(member.deviation)
    return ratio.reshape(values.shape)


def offline(values: Values, states: States) -> Values:
    """The value's distance above the mean of OUT, in standard deviations.

    P[Z <= value] under OUT's Gaussian ranks samples alike, but is 1 in floating point from 8.3
    deviations on.

    Raises:
        DataError: there are too few models to fit a variance.
    """
    centred = values - values[0]
    counts = counts_elsewhere(states == OUT)
    out = _fit(centred, states == OUT, counts, shared=counts.min() < OWN_VARIANCE)
    return np.asarray((by_block(centred) - out.mean) / out.deviation).reshape(values.shape)


def _fit(
    values: Values, chosen: Bool[np.ndarray, "models n"], counts: PerBlock, shared: bool
) -> Gaussian:
    """The fit of the values that are chosen outside each block; they are centred on some model's.

    Equal values of a sample are then exactly 0, so that their deviation is, too.
    """
    mean = sums_elsewhere(values, chosen) / counts
    squares = sums_elsewhere(np.square(values), chosen) - counts * np.square(mean)
    freedom = counts - 1
    if shared:
        squares, freedom = (of.sum(axis=2, keepdims=True) for of in (squares, freedom))
    if not freedom.all():
        raise DataError(
            "one model per state outside a block",
            "has no variance",
            "train at least three blocks of models",
        )
    deviation = np.sqrt(np.maximum(squares, 0) / freedom)
    return Gaussian(mean, np.maximum(deviation, SMALLEST_DEVIATION))


def _squared_distance(blocks: np.ndarray, fit: Gaussian) -> np.ndarray:
    """((value - mean) / deviation)^2."""
    distance = blocks - fit.mean
    distance /= fit.deviation
    return np.asarray(np.square(distance, out=distance))
