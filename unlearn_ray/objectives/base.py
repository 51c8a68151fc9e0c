"""Contract of an objective: what a search makes as small as it can."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Metric

Direction = Literal["minimize", "maximize"]
Kind = TypeVar("Kind", Metric, type[Metric])


@schema
class Objective(Part):
    """Contract of an objective.

    Class attributes:
        columns: what it reads of a row, and the direction in which each column is better. A row
            has the columns of every objective that can be told from what was measured.
    """

    kind: ClassVar[str] = "objective"
    room: ClassVar[str] = "unlearn_ray.objectives"
    columns: ClassVar[Mapping[str, Direction]]

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """The metrics, of those that a sweep names, that its columns are made of.

        Trials are measured by these alone; without any there is no score.
        """
        raise NotImplementedError

    def score(self, row: Mapping[str, Any]) -> float | None:
        """What a search minimises; None where a column has no value.

        Of several columns, an objective says itself how they make one number.
        """
        ((column, direction),) = self.columns.items()
        value = row[column]
        return None if value is None else float(value if direction == "minimize" else -value)
