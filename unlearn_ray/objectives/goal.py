"""`Goal`: several objectives, constraints, or both, as one objective."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Direction, Kind, Objective
from unlearn_ray.objectives.constraints import Constraint


@schema
class Goal(Objective):
    """What a sweep file's `objective` and `constraints` say together.

    Attributes:
        objectives: what is minimised; several make each study search for a Pareto front.
        constraints: what a trial must keep to be chosen.
    """

    name: ClassVar[str] = "goal"
    columns: ClassVar[Mapping[str, Direction]] = {}

    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    constraints: tuple[Constraint, ...] = ()

    def identity(self) -> dict[str, Any]:
        """The content of each objective, and the constraints."""
        return {
            "name": self.name,
            "objectives": [one.content() for one in self.objectives],
            "constraints": [vars(one) for one in self.constraints],
        }

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """Those that an objective or a constraint is computed from."""
        used = {id(metric) for part in self._parts() for metric in part.metrics(metrics)}
        return tuple(metric for metric in metrics if id(metric) in used)

    def check(self, metrics: Collection[Metric]) -> None:
        """Every objective and constraint must fit."""
        for part in self._parts():
            part.check(metrics)

    def uses_floor(self) -> bool:
        """Whether one of its parts does."""
        return any(part.uses_floor() for part in self._parts())

    def uses_retrained(self) -> bool:
        """Whether one of its parts does."""
        return any(part.uses_retrained() for part in self._parts())

    def uses_original(self) -> bool:
        """Whether one of its objectives does."""
        return any(one.uses_original() for one in self.objectives)

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The first objective's."""
        return self.objectives[0].score(row)

    @property
    def title(self) -> str:
        """The names of its objectives, and its constraints as written."""
        names = ", ".join(one.name for one in self.objectives)
        return "; ".join([names, *map(str, self.constraints)])

    def each(self) -> tuple[Objective, ...]:
        """The objectives."""
        return self.objectives

    def constraints_of(self) -> tuple[Constraint, ...]:
        """The constraints."""
        return self.constraints

    def _parts(self) -> tuple[Objective | Constraint, ...]:
        return (*self.objectives, *self.constraints)
