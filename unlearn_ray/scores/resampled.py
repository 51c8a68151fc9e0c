"""Estimates of scores that compare the unlearned with the retrained models of a bank."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf, nan

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.evidence.resampling import Rows, ends, halved_rows, null_of, permuted_rows


def refused(columns: Iterable[str], models: int, reason: str) -> dict[str, Estimate]:
    """No estimate of any column, and why."""
    return dict.fromkeys(columns, Estimate(nan, nan, nan, nan, nan, nan, models, refused=reason))


def resampled(
    columns: Collection[str],
    value: Float64[np.ndarray, " columns"],
    measured: Callable[[Rows, Rows], Float64[np.ndarray, " columns"]],
    sizes: tuple[int, int],
    bounds: tuple[float, float] = (-inf, inf),
) -> dict[str, Estimate]:
    """Estimates with the interval and the null of `evidence.resampling`.

    Args:
        columns: their names.
        value: their values.
        measured: the values for given rows of models to be called unlearned, and retrained; the
            rows of the unlearned models come first.
        sizes: the numbers of unlearned and of retrained models.
        bounds: no value lies outside of these.
    """
    halves = np.stack([measured(*rows) for rows in halved_rows(*sizes)])
    permuted = np.stack([measured(*rows) for rows in permuted_rows(*sizes)])
    low, high = np.clip(ends(value, halves), *bounds)
    each = np.stack([value, low, high, *null_of(permuted)], axis=1)
    fields = ("value", "low", "high", "null", "null_low", "null_high")
    return {
        name: Estimate(**dict(zip(fields, numbers, strict=True)), models=min(sizes))
        for name, numbers in zip(columns, each.tolist(), strict=True)
    }
