"""Estimates of scores that have one value per replicate."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.scores.base import LEVEL


def by_replicate(
    values: Float64[np.ndarray, " models"], nulls: Float64[np.ndarray, " retrained"]
) -> Estimate:
    """The mean over at least two replicates of values in [0, 1], with its t-interval.

    Args:
        values: of each unlearned model.
        nulls: of each retrained model in its place; the null's range is that of the mean of as
            many of them as there are values.
    """
    from scipy import stats

    models = len(values)
    quantile = float(stats.t.ppf(1 - LEVEL / 2, models - 1)) / math.sqrt(models)
    value, half = float(values.mean()), quantile * float(values.std(ddof=1))
    null, range_ = float(nulls.mean()), quantile * float(nulls.std(ddof=1))
    ends = value - half, value + half, null - range_, null + range_
    low, high, null_low, null_high = np.clip(ends, 0, 1).tolist()
    return Estimate(value, low, high, null, null_low, null_high, models)
