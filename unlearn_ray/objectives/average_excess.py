"""The average excess: each metric's gap over its noise floor, averaged.

A gap in percentage points weighs metrics by their units and their noise: the noisiest decides the
search. Over its noise floor, a gap of 1 is what one more retrained model has, whatever the metric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from unlearn_ray.core.gaps import counted_metrics
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.objectives.base import Direction, Kind, Objective


@register("average_excess")
@schema
class AverageExcess(Objective):
    """Mean over the metrics of the average gap of gap / noise floor.

    The gap is the mean distance to the retrained models of the seed; the noise floor is the mean
    distance between two of them, over all tuning seeds.
    """

    columns: ClassVar[Mapping[str, Direction]] = {"average_excess": "minimize"}

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """The metrics that count in the average gap."""
        return counted_metrics(metrics)

    def uses_floor(self) -> bool:
        """True."""
        return True
