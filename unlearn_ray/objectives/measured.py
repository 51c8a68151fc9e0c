"""Measured values themselves: what to search for where there is no retrained model.

A gap says how far a model is from one that never saw the forget set. Without such a model, a person
has to say what she wants of each value: test accuracy as before, forget accuracy as on unseen
images, an attack that only guesses.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveFloat, schema
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Direction, Kind, Objective

_WAYS = ("minimize", "maximize", "original")


@register("measured")
@schema
class Measured(Objective):
    """Weighted mean of how far chosen columns are from what is wanted of each, in their units.

    Attributes:
        aims: what is wanted of each column, as in rows:

            - `minimize` or `maximize`;
            - `original`: a value near the original model's;
            - a number to be near, such as 50 for an attack that only guesses;
            - another column to be near: `forget_accuracy: test_accuracy`, as a model that never saw
              the forget samples is as often right on them as on test images.
        weights: of the columns; 1 for those without one.
    """

    columns: ClassVar[Mapping[str, Direction]] = {}
    tiny: ClassVar[Fields] = {"aims": {"forget_accuracy": "minimize"}}

    aims: Annotated[
        Mapping[str, Literal["minimize", "maximize", "original"] | float | str],
        Field(min_length=1),
    ]
    weights: Mapping[str, PositiveFloat] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_of_aims(self) -> Measured:
        if without := sorted(self.weights.keys() - self.aims.keys()):
            raise ValueError(f"{without[0]} has a weight and no aim")
        return self

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """The metrics that have one of the columns."""
        read = self._columns()
        return tuple(metric for metric in metrics if read & metric.columns.keys())

    def check(self, metrics: Collection[Metric]) -> None:
        """Every column must be measured, and no value can be near itself."""
        measured = {column for metric in metrics for column in metric.columns}
        for column, aim in self.aims.items():
            if column not in measured:
                raise ConfigError(
                    f"aims.{column}",
                    f"no metric of the sweep measures it{did_you_mean(column, measured)}",
                    "add that metric to metrics, or remove the aim",
                )
            if isinstance(aim, str) and aim not in _WAYS and (aim not in measured or aim == column):
                raise ConfigError(
                    f"aims.{column} = {aim}",
                    "it is neither minimize, maximize nor original, nor another measured column"
                    f"{did_you_mean(aim, {*_WAYS, *measured} - {column})}",
                    "give one of them, or a number",
                )

    def uses_retrained(self) -> bool:
        """False: values are taken as they are."""
        return False

    def uses_original(self) -> bool:
        """Whether a value is to be near the original's."""
        return "original" in self.aims.values()

    def score(self, row: Mapping[str, Any]) -> float | None:
        """The weighted mean; None if a value is missing."""
        terms: list[float] = []
        for column, aim in self.aims.items():
            value, wanted = row.get(column), _wanted(row, column, aim)
            if value is None or wanted is None:
                return None
            sign = -1.0 if aim == "maximize" else 1.0
            distance = sign * float(value) if aim in _WAYS[:2] else abs(float(value) - wanted)
            terms.append(self.weights.get(column, 1.0) * distance)
        return math.fsum(terms) / math.fsum(self.weights.get(column, 1.0) for column in self.aims)

    def _columns(self) -> set[str]:
        """Every column that it reads."""
        others = {aim for aim in self.aims.values() if isinstance(aim, str) and aim not in _WAYS}
        return self.aims.keys() | others


def _wanted(row: Mapping[str, Any], column: str, aim: str | float) -> float | None:
    """The value that a column should be near; 0 for a direction."""
    if not isinstance(aim, str):
        return aim
    if aim in _WAYS[:2]:
        return 0.0
    value = row.get(f"{column}_original" if aim == "original" else aim)
    return None if value is None else float(value)
