"""IAM, Interpolated Approximate Measurement: how completely one model forgot each sample.

"Towards Lifecycle Unlearning Commitment Management: Measuring Sample-level Unlearning
Completeness", USENIX Security 2025, and its public code.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

STEPS = 100


def signal(confidence: Float64[np.ndarray, "*models n"]) -> Float64[np.ndarray, "*models n"]:
    """-log(0.01 - log(p + 1e-5)) of the true class's probability p, which follows a Gumbel law.

    Args:
        confidence: log p - log(1 - p).
    """
    return np.asarray(-np.log(1e-2 - np.log(np.exp(-np.logaddexp(0, -confidence)) + 1e-5)))


def completeness(
    unlearned: Float64[np.ndarray, " n"],
    original: Float64[np.ndarray, " n"],
    shadows: Float64[np.ndarray, "shadows n"],
) -> Float64[np.ndarray, " n"]:
    """1 - the membership of each sample, from signals of one unlearned model.

    In 100 steps alpha = 0 ... 1 the signals of shadow models, which were not trained on the
    samples, are moved to the original model's. At each step but the last, a Gumbel distribution
    gets their mean over the shadows and their standard deviation over shadows and samples.
    Membership is the mean of its distribution function at the unlearned model's signal, weighted by
    the next step's alpha.
    """
    alphas = np.linspace(0, 1, STEPS)
    weights = alphas[1:] / alphas[1:].sum()
    mean = shadows.mean(axis=0)
    covariance = float(((mean - mean.mean()) * (original - original.mean())).mean())
    spreads = float(shadows.var()), float(original.var())
    membership = np.zeros(len(unlearned))
    for alpha, weight in zip(alphas[:-1], weights, strict=True):
        variance = (1 - alpha) ** 2 * spreads[0] + alpha**2 * spreads[1]
        variance += 2 * alpha * (1 - alpha) * covariance
        # Signals that do not vary at all are beyond any doubt.
        scale = max(math.sqrt(6 * max(variance, 0.0)) / math.pi, 1e-12)
        place = mean + alpha * (original - mean) - np.euler_gamma * scale
        membership += weight * np.exp(-np.exp(np.clip((place - unlearned) / scale, -700, 700)))
    return 1 - membership
