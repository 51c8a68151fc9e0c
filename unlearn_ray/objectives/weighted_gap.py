"""A weighted mean of the gaps of chosen metrics."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveFloat, schema
from unlearn_ray.evidence.floors import LEAST_FLOOR
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Direction, Kind, Objective


@register("weighted_gap")
@schema
class WeightedGap(Objective):
    """Weighted mean of the gaps of chosen columns: in their units, in percent, or over floors.

    Attributes:
        weights: the weight of each column, as in rows: forget_accuracy, emia_efficacy.
        unit: `points` takes gaps as they are; `percent` is in percent of the retrained model's
            value, which counts as 0.1 where it is nearer to 0, as noise floors do; `floor`
            divides each gap by its noise floor.
    """

    columns: ClassVar[Mapping[str, Direction]] = {}
    tiny: ClassVar[Fields] = {"weights": {"forget_accuracy": 1.0}}

    weights: Annotated[Mapping[str, PositiveFloat], Field(min_length=1)]
    unit: Literal["points", "percent", "floor"] = "points"

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """The metrics that have one of the columns."""
        return tuple(metric for metric in metrics if self.weights.keys() & metric.columns.keys())

    def check(self, metrics: Collection[Metric]) -> None:
        """Every column must be measured."""
        measured = {column for metric in metrics for column in metric.columns}
        for column in self.weights:
            if column not in measured:
                raise ConfigError(
                    f"weights.{column}",
                    f"no metric of the sweep measures it{did_you_mean(column, measured)}",
                    "add that metric to metrics, or remove the weight",
                )

    def uses_floor(self) -> bool:
        """Whether each gap is divided by its noise floor."""
        return self.unit == "floor"

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The weighted mean; None if a gap is missing."""
        values = [self._gap(row, column) for column in self.weights]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        weights = self.weights.values()
        weighted = (weight * value for weight, value in zip(weights, known, strict=True))
        return math.fsum(weighted) / math.fsum(weights)

    def _gap(self, row: Mapping[str, Any], column: str) -> float | None:
        """The gap of a column in the unit."""
        gap = row.get(f"{column}_{'excess' if self.unit == 'floor' else 'gap'}")
        if gap is None or self.unit != "percent":
            return None if gap is None else float(gap)
        return 100 * float(gap) / max(abs(float(row[f"{column}_retrained"])), LEAST_FLOOR)
