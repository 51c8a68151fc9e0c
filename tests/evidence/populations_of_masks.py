"""Synthetic banks whose truth is known, and the fits of published code, some of them faulty."""

from __future__ import annotations

import numpy as np

from unlearn_ray.evidence.masks import OUT, states
from unlearn_ray.evidence.roc import Ranking

Array = np.ndarray


def bank(
    models: int, samples: int, shift: float, seed: int, members: tuple[int, ...]
) -> tuple[Array, Array]:
    """States, and values of standard deviation 1 that are `shift` larger for members."""
    of = states(models, samples, seed)
    generator = np.random.default_rng(seed)
    # Samples differ far more than a sample does between models.
    values = generator.normal(0, 5, samples) + generator.normal(size=of.shape)
    return of, values + shift * np.isin(of, members)


def area(scores: Array, of: Array, members: tuple[int, ...]) -> float:
    return Ranking(scores[np.isin(of, members)], scores[of == OUT]).auc()


def gaussian(values: Array, shared: bool) -> tuple[Array, Array]:
    """Mean and variance of each sample's values under K models, (K, n)."""
    mean = values.mean(axis=0)
    variance = ((values - mean) ** 2).sum(axis=0) / (len(values) - 1)
    return mean, np.full_like(variance, variance.mean()) if shared else variance


def log_ratio(x: Array, member: tuple[Array, Array], out: tuple[Array, Array]) -> Array:
    """log N(x; member) - log N(x; out)."""
    distances = ((x - out[0]) ** 2 / out[1], (x - member[0]) ** 2 / member[1])
    return np.asarray((distances[0] - distances[1] + np.log(out[1] / member[1])) / 2)


def in_sample(member: Array, out: Array, shared: bool) -> float:
    """Faulty: scores the models that it was fitted on."""
    fits = gaussian(member, shared), gaussian(out, shared)
    return Ranking(log_ratio(member, *fits).ravel(), log_ratio(out, *fits).ravel()).auc()


def leave_one_model_out(member: Array, out: Array, shared: bool) -> float:
    """Faulty: the state under the model that is left out has one model fewer to be fitted on."""
    positives = [
        log_ratio(own, gaussian(np.delete(member, k, 0), shared), gaussian(out, shared))
        for k, own in enumerate(member)
    ]
    negatives = [
        log_ratio(own, gaussian(member, shared), gaussian(np.delete(out, k, 0), shared))
        for k, own in enumerate(out)
    ]
    return Ranking(np.ravel(positives), np.ravel(negatives)).auc()


def held_out(member: Array, out: Array, fresh: tuple[Array, Array], shared: bool) -> float:
    """Scores models that nothing was fitted on."""
    fits = gaussian(member, shared), gaussian(out, shared)
    return Ranking(*(log_ratio(of, *fits).ravel() for of in fresh)).auc()
