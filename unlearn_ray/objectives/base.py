"""Contract of an objective: what a search minimises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Metric

if TYPE_CHECKING:
    from unlearn_ray.objectives.constraints import Constraint

Direction = Literal["minimize", "maximize"]
Kind = TypeVar("Kind", Metric, type[Metric])


@schema
class Objective(Part):
    """Contract of an objective.

    A part implements `metrics` and, unless it is one column, `score`. What a sweep file lists,
    several objectives or constraints, is one `Goal`, which is an objective, too: code that asks
    `metrics`, `check`, `uses_floor`, `scores` and `excesses` works for both.

    Class attributes:
        columns: the row's columns that it uses, and the direction in which each is better. A row
            has the columns of every objective that can be computed from the measured metrics.
        of_metrics: whether it is computed from metrics; False for a cost, which every row of a
            trial holds.
    """

    kind: ClassVar[str] = "objective"
    room: ClassVar[str] = "unlearn_ray.objectives"
    columns: ClassVar[Mapping[str, Direction]]
    of_metrics: ClassVar[bool] = True

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """Those of a sweep's metrics that its columns are computed from, in their order.

        Only these are measured in trials; without any, and without another objective or
        constraint that needs one, there is nothing to search for.
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

    def uses_retrained(self) -> bool:
        """Whether it compares with retrained models, which not every sweep has."""
        return True

    def uses_original(self) -> bool:
        """Whether it compares with the originals, which are then measured on tuning seeds, too.

        Rows then have their values as `<metric>_original`.
        """
        return False

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The value that a search minimises; None if a column has no value.

        The objective combines several columns into one number.
        """
        ((column, direction),) = self.columns.items()
        value = row[column]
        return None if value is None else float(value if direction == "minimize" else -value)

    @property
    def title(self) -> str:
        """What rows call it."""
        return self.name

    def each(self) -> tuple[Objective, ...]:
        """The objectives that it consists of: itself, or those of a `Goal`."""
        return (self,)

    def constraints_of(self) -> tuple[Constraint, ...]:
        """The constraints of a `Goal`; a part has none."""
        return ()

    def scores(self, row: Mapping[str, Any]) -> tuple[float | None, ...]:
        """The score of each of its objectives."""
        return tuple(one.score(row) for one in self.each())

    def excesses(self, row: Mapping[str, Any]) -> tuple[float | None, ...]:
        """How far a row is beyond each of its constraints: at most 0 where one is met."""
        return tuple(one.excess(row) for one in self.constraints_of())
