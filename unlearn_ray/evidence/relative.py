"""RMIA: is a sample likelier under this model, relative to others, than unseen samples are?

Zarifzadeh, Liu and Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024:
ratio(x) = p(x | model) / p(x), score(x) = P over unseen z of [ratio(x) / ratio(z) > gamma]
(equations 3 and 4), and p(x) from OUT models alone = ((1 + a) mean of OUT + 1 - a) / 2 (appendix
B.2.2). Reference models are those of all other blocks.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.held_out import PerBlock, Values, by_block, means_elsewhere
from unlearn_ray.evidence.masks import OUT, States, among


def relative_likelihood(
    ratios: Values, unseen: Float64[np.ndarray, "models z"], gamma: float
) -> Values:
    """The share of unseen samples z with ratio(x) / ratio(z) > gamma.

    Args:
        ratios: log ratio(x) of each model and audited sample.
        unseen: log ratio(z) of each model and unseen sample.
        gamma: how many times larger the ratio has to be, above 0.
    """
    shares = np.empty(ratios.shape)
    for share, own, others in zip(shares, ratios, unseen, strict=True):
        share[:] = np.searchsorted(np.sort(others), own - math.log(gamma), "left")
    shares /= unseen.shape[1]
    return shares


def online_ratios(values: Values, states: States, members: tuple[int, ...]) -> Values:
    """log ratio(x), with p(x) the mean of the means over OUT models and over those of `members`.

    Args:
        values: confidence log p_y - log(1 - p_y) under each model.
        states: of each sample under each model, in blocks of four models.
        members: the states that are to be told from OUT.

    Raises:
        DataError: a sample has no such models in the other blocks.
    """
    logs, largest = _log_likelihood(values)
    likelihood = np.exp(logs)
    means = [means_elsewhere(likelihood, among(states, of)) for of in ((OUT,), members)]
    return _relative(logs, (means[0] + means[1]) / 2, largest, a=1)


def offline_ratios(values: Values, states: States, a: float) -> Values:
    """log ratio(x), with p(x) from OUT models alone.

    Args:
        values: confidence log p_y - log(1 - p_y) under each model.
        states: of each sample under each model, in blocks of four models.
        a: the slope from 0 to 1 of p(x) under OUT models in p(x) under members.

    Raises:
        DataError: a sample has no OUT model in the other blocks.
    """
    logs, largest = _log_likelihood(values)
    return _relative(logs, means_elsewhere(np.exp(logs), states == OUT), largest, a)


def _log_likelihood(values: Values) -> tuple[Values, Float64[np.ndarray, " n"]]:
    """log p_y less each sample's largest, and that: the largest likelihood never underflows."""
    logs = np.minimum(values, 0) - np.log1p(np.exp(-np.abs(values)))
    largest = logs.max(axis=0)
    logs -= largest
    return logs, largest


def _relative(logs: Values, mean: PerBlock, largest: Float64[np.ndarray, " n"], a: float) -> Values:
    """log p(x | model) - log ((1 + a) mean + 1 - a) / 2, all but `largest` relative to it."""
    # The smallest number stands for a mean that underflows.
    reference = np.log(np.maximum(mean, np.finfo(np.float64).tiny)) + math.log((1 + a) / 2)
    if a < 1:
        reference = np.logaddexp(reference, math.log((1 - a) / 2) - largest)
    return np.asarray(by_block(logs) - reference).reshape(logs.shape)
