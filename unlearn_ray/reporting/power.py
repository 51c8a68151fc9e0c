"""How far a sweep's numbers can be trusted, and how many more models it would take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from unlearn_ray.core.runs import RETRAIN
from unlearn_ray.evidence.floors import noise_floor
from unlearn_ray.evidence.variance import (
    detectable_gap,
    half_width,
    replicates_for,
    splits_for,
    variance_components,
)
from unlearn_ray.reporting.evidence import LEVEL
from unlearn_ray.reporting.ranking import UNKNOWN, Tuning
from unlearn_ray.reporting.table import has_retrained, models_of, printed_columns

Unit = Literal["points", "floors"]


_NEEDED = ("replicates_needed", "splits_needed")


@dataclass(frozen=True)
class Asked:
    """A stated precision: the half-width of the 95 % interval of a mean.

    Attributes:
        width: the half-width.
        unit: `points` is the metric's own unit, `floors` its noise floor.
    """

    width: float
    unit: Unit = "points"

    def of(self, floor: float) -> float:
        """In the unit of a metric with this noise floor; NaN where it has none."""
        return self.width * floor if self.unit == "floors" else self.width


def power(rows: pd.DataFrame, asked: Asked, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """A row per model of a sweep's table and metric; a number that has no meaning is null.

    - splits, replicates: how many reporting seeds there are, and the fewest models of one of them;
    - mean; std_split, std_replicate: the standard deviations that come from the split and from the
      training (and unlearning) seed. Without a second replicate they cannot be told apart, and
      std_split is of both;
    - floor: the mean difference of two retrained models of one split;
    - half_width: half of the 95 % interval of the mean difference from the retrained model of the
      same run, which has the same split and training seed; for the retrained models, and where
      there are none, of the mean;
    - detectable_excess_gap: the smallest excess gap that these replicates find in 80 % of cases;
    - replicates_needed: per split, for the stated half-width; null if no number of them will do;
    - splits_needed: with as many replicates as now.

    Args:
        rows: of one sweep.
        asked: the stated half-width.
        tuning: tuning seeds of the studies, where known.
    """
    models = models_of(rows, tuning)
    retrained = models[RETRAIN]
    # Where nothing was compared with retraining, what needs it has no value.
    compares = has_retrained(rows)
    found = [
        {"study": study, "metric": metric, **_line(values, of_retrained, asked)}
        for metric in printed_columns(rows)
        if (of_retrained := _nested(retrained, metric)) or not compares
        for study, part in models.items()
        if (values := of_retrained if study == RETRAIN else _nested(part, metric))
    ]
    frame = pd.DataFrame(found)
    # Of nothing but nulls, too, they are whole numbers.
    return frame.astype(dict.fromkeys(_NEEDED, "Int64")) if found else frame


Values = Mapping[int, Mapping[int, np.ndarray]]


def _nested(rows: pd.DataFrame, metric: str) -> Values:
    """By split and replicate, the metric of the one unlearned model."""
    nested: dict[int, dict[int, np.ndarray]] = {}
    if metric in rows.columns:
        known = rows.dropna(subset=[metric])
        for seed, replicate, value in zip(
            known["seed"], known["replicate"], known[metric], strict=True
        ):
            nested.setdefault(int(seed), {})[int(replicate)] = np.array([float(value)])
    return nested


def _differences(values: Values, retrained: Values) -> Values:
    """From the retrained model of the same run, where there is one."""
    pairs = {
        split: {run: each - retrained[split][run] for run, each in models.items() if run in others}
        for split, models in values.items()
        if (others := retrained.get(split, {}))
    }
    return {split: models for split, models in pairs.items() if models}


def _line(values: Values, retrained: Values, asked: Asked) -> dict[str, Any]:
    splits, replicates = _counts(values)
    components = variance_components(values)
    floor = noise_floor(_by_split(retrained)).mean if retrained else math.nan
    alone = values is retrained or not retrained
    compared = values if alone else _differences(values, retrained)
    return {
        "splits": splits,
        "replicates": replicates,
        "mean": float(np.mean([each for split in values.values() for each in split.values()])),
        "std_split": math.sqrt(components.split),
        "std_replicate": math.sqrt(components.training),
        "floor": floor,
        "detectable_excess_gap": _detectable(values, retrained) if retrained else math.nan,
        **_precision(compared, asked.of(floor)),
    }


def _detectable(values: Values, retrained: Values) -> float:
    """The smallest excess gap in the splits that both kinds of models have."""
    spread = math.sqrt(variance_components(retrained).within_split)
    shared = values.keys() & retrained.keys()
    if math.isnan(spread) or not shared:
        return math.nan
    fewest = min(len(kind[split]) for kind in (values, retrained) for split in shared)
    return _finite(detectable_gap(spread, len(shared), fewest, LEVEL))


def _precision(values: Values, target: float) -> dict[str, Any]:
    """Half-width of the mean of values, and what it would take to make that `target`."""
    found: dict[str, Any] = {"half_width": math.nan, **dict.fromkeys(_NEEDED)}
    if not values:
        return found
    components, (splits, replicates) = variance_components(values), _counts(values)
    # With one replicate of each split, what the training seed does is part of the splits'.
    apart = not math.isnan(components.training)
    known = components if apart else replace(components, training=0.0)
    found["half_width"] = _finite(half_width(known, splits, replicates, level=LEVEL))
    if not math.isnan(target):
        found["splits_needed"] = splits_for(known, target, replicates, LEVEL)
        found["replicates_needed"] = replicates_for(known, target, splits, LEVEL) if apart else None
    return found


def _counts(values: Values) -> tuple[int, int]:
    """The number of splits, and the fewest replicates of one."""
    return len(values), min(map(len, values.values()))


def _by_split(values: Values) -> dict[int, np.ndarray]:
    return {split: np.concatenate([*models.values()]) for split, models in values.items()}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
