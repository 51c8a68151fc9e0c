"""Contract of an objective: what a search minimises."""

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
        columns: the row's columns that it uses, and the direction in which each is better. A row
            has the columns of every objective that can be computed from the measured metrics.
    """

    kind: ClassVar[str] = "objective"
    room: ClassVar[str] = "unlearn_ray.objectives"
    columns: ClassVar[Mapping[str, Direction]]

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """Those of a sweep's metrics that its columns are computed from.

        Only these are measured in trials; without any there is no score.
        """
        raise NotImplementedError

    def check(self, metrics: Collection[Metric]) -> None:
        """Refuse, while planning, fields that do not fit the measured metrics.

        Raises:
            ConfigError: a field does not fit.
        """

    def uses_floor(self) -> bool:
        """Whether it uses noise floors, which only replicates of the tuning seeds have."""
        return False

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The value that a search minimises; None if a column has no value.

        The objective combines several columns into one number.
        """
        ((column, direction),) = self.columns.items()
        value = row[column]
        return None if value is None else float(value if direction == "minimize" else -value)
