"""The average gap: the mean distance of a model's metrics from the retrained model's.

MUC's Avg. Gap, per seed; the mean over the tuning seeds is a trial's score.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from unlearn_ray.core.gaps import counted_metrics
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.objectives.base import Direction, Kind, Objective


@register("average_gap")
@schema
class AverageGap(Objective):
    """Mean gap from the retrained model, over the metrics that count in it."""

    columns: ClassVar[Mapping[str, Direction]] = {"average_gap": "minimize"}

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """The metrics that count in the average gap."""
        return counted_metrics(metrics)
