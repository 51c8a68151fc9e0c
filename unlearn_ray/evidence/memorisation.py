"""Memorisation: how much likelier a sample is classified correctly if it was trained on.

Feldman and Zhang, "What Neural Networks Memorize and Why", NeurIPS 2020, equation 1, with each
model of a bank used for all samples (their section 2). Zhao et al., "What makes unlearning hard
and what to do about it" (RUM), NeurIPS 2024, forget samples of low, middle and high memorisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from unlearn_ray.core.errors import DataError


@dataclass(frozen=True)
class Memorisation:
    """Estimates of each audited sample.

    Attributes:
        value: mem(x), from -1 to 1.
        error: its standard error.
        inside: the share of models trained on the sample that are right.
        outside: the share of the others that are right.
    """

    value: Float64[np.ndarray, " n"]
    error: Float64[np.ndarray, " n"]
    inside: Float64[np.ndarray, " n"]
    outside: Float64[np.ndarray, " n"]


def memorisation(
    correct: Bool[np.ndarray, "models n"], trained: Bool[np.ndarray, "models n"]
) -> Memorisation:
    """mem(x) = P[right | x trained on] - P[right | x not trained on].

    The standard error adds one right and one wrong model to each side (Agresti and Caffo, The
    American Statistician, 2000): without them it would be 0 wherever all models agree.

    Args:
        correct: whether each model, before it unlearns, classifies each sample correctly.
        trained: whether the sample is in the model's training set.

    Raises:
        DataError: a sample is trained on by all models, or by none.
    """
    shares, variances = [], []
    for of in (trained, ~trained):
        models = of.sum(axis=0)
        if not models.all():
            raise DataError(
                f"{np.count_nonzero(models == 0):,} samples",
                "all models or none are trained on them",
                "use a bank with balanced masks, of four models or more",
            )
        right = (correct & of).sum(axis=0)
        shares.append(right / models)
        likely = (right + 1) / (models + 2)
        variances.append(likely * (1 - likely) / (models + 2))
    error = np.sqrt(variances[0] + variances[1])
    return Memorisation(shares[0] - shares[1], error, *shares)


def groups(
    values: Float64[np.ndarray, " n"], size: int, seed: int
) -> dict[str, Int64[np.ndarray, " size"]]:
    """The `size` samples of lowest, of middle and of highest rank, as "low", "mid" and "high".

    Estimates from few models are equal for many samples; these are ranked in an order drawn from
    `seed`, as an order by number would often be one by class.

    Raises:
        DataError: there are fewer than three times `size` samples, or size is below 1.
    """
    samples = len(values)
    if not 0 < 3 * size <= samples:
        raise DataError(
            f"three groups of {size:,} of {samples:,} samples",
            "they would be empty or overlap",
            f"choose a size from 1 to {samples // 3:,}",
        )
    drawn = np.random.default_rng(seed).permutation(samples)
    ranked = drawn[np.argsort(values[drawn], kind="stable")]
    middle = (samples - size) // 2
    parts = {"low": slice(0, size), "mid": slice(middle, middle + size)}
    parts["high"] = slice(samples - size, samples)
    return {name: np.sort(ranked[part]) for name, part in parts.items()}
