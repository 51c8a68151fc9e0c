"""Noise floors: how far two retrained models of one split lie apart, and gaps in that unit.

Training is random: two retrained models of one split differ, too. Their mean distance is the unit
in which metrics of any unit and noise can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.evidence.permutations import Models, Values, distances_of, present

# A unit per metric, or one for all.
Least = float | Float64[np.ndarray, " metrics"]
# The smallest floor that a gap is divided by, in the metrics' unit (percentage points): metrics of
# a few hundred samples are often equal for all retrained models.
LEAST_FLOOR = 0.1


@dataclass(frozen=True)
class NoiseFloor:
    """How far two retrained models of one split lie apart.

    Attributes:
        differences: |r_i - r_j| of all pairs i < j within a split, all splits together, sorted.
        mean: of these; NaN if no split has two retrained models.
        splits: the number of splits that have.
    """

    differences: Float64[np.ndarray, " pairs"]
    mean: float
    splits: int


def noise_floor(retrained: Values) -> NoiseFloor:
    """The retrain-retrain distribution of one metric."""
    splits = [kept for _, each in sorted(retrained.items()) if len(kept := present(each)) > 1]
    pairs = [distances_of(each)[np.triu_indices(len(each), 1)][:, 0] for each in splits]
    differences = np.sort(np.concatenate([np.empty(0), *pairs]))
    mean = float(differences.mean()) if len(differences) else math.nan
    return NoiseFloor(differences, mean, len(splits))


def floors(retrained: Models, least: Least = LEAST_FLOOR) -> Float64[np.ndarray, " metrics"]:
    """The mean noise floor of each metric, but at least `least`.

    Raises:
        UnlearnRayError: no split has two retrained models.
    """
    by_metric = [
        noise_floor({split: values[:, number] for split, values in retrained.items()}).mean
        for number in range(next(iter(retrained.values())).shape[1])
    ]
    if np.isnan(by_metric).any():
        raise UnlearnRayError(
            "noise floor",
            "no split has two retrained models",
            "train at least two replicates of one split",
        )
    return np.maximum(by_metric, least)


def gap_over_floor(value: float, retrained: Sequence[float], floor: float) -> float:
    """Mean distance from the retrained models of the same split, in noise floors.

    It is 1 on average for one more retrained model, whatever the metric's unit and noise.

    Args:
        value: a metric of one model.
        retrained: that of the retrained models.
        floor: the metric's mean noise floor; less than `LEAST_FLOOR` counts as that.
    """
    distance = math.fsum(abs(value - one) for one in retrained) / len(retrained)
    return distance / max(floor, LEAST_FLOOR)
