"""Confidence of the true class, on the scale on which attacks are close to Gaussian.

Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022, section V.B:
phi(p_y) = log(p_y / (1 - p_y)). Clipping probabilities would cut it off at both ends, so it is
computed from logits.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from unlearn_ray.core.errors import DataError


def confidence(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """log p_y - log of the sum of the other classes' p, in nats.

    The logits' normaliser cancels: it is l_y - log sum_{c != y} exp(l_c), finite for all finite
    logits, however large.

    Raises:
        DataError: there are fewer than two classes, a label is not among them, or a logit is not
            finite.
    """
    _check(logits, labels)
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    largest = others.max(axis=1)
    others -= largest[:, None]
    return np.asarray(own - largest - np.log(np.exp(others, out=others).sum(axis=1)))


def correct(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether the predicted class, the first of equally likely ones, is the true one.

    Raises:
        DataError: as `confidence` does.
    """
    _check(logits, labels)
    return np.asarray(logits.argmax(axis=1) == labels)


def _check(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> None:
    classes = logits.shape[1]
    if classes < 2:
        raise DataError(f"logits of {classes} classes", "have no other class", "use two or more")
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise DataError(
            f"label {outside[0]}",
            f"is none of the {classes} classes of the logits",
            "pass the labels that the model was trained with",
        )
    if not np.isfinite(logits).all():
        raise DataError(
            "logits",
            f"{np.count_nonzero(~np.isfinite(logits)):,} are not finite",
            "leave out models that diverged, and store logits in a format that holds them",
        )
