"""A weighted mean of the gaps of chosen metrics."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveFloat, schema
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Direction, Kind, Objective


@register("weighted_gap")
@schema
class WeightedGap(Objective):
    """Weighted mean of the gaps of chosen columns, in their units or over their noise floors.

    Attributes:
        weights: the weight of each column, as in rows: forget_accuracy, emia_efficacy.
        unit: `points` takes gaps as they are, `floor` divides each by its noise floor.
    """

    columns: ClassVar[Mapping[str, Direction]] = {}
    tiny: ClassVar[Fields] = {"weights": {"forget_accuracy": 1.0}}

    weights: Annotated[Mapping[str, PositiveFloat], Field(min_length=1)]
    unit: Literal["points", "floor"] = "points"

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
        of = "excess" if self.unit == "floor" else "gap"
        values: list[Any] = [row.get(f"{column}_{of}") for column in self.weights]
        if None in values:
            return None
        weights = self.weights.values()
        weighted = (weight * float(value) for weight, value in zip(weights, values, strict=True))
        return math.fsum(weighted) / math.fsum(weights)
