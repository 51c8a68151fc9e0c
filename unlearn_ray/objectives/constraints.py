"""Constraints: bounds on columns of rows that a trial must keep, on average over the seeds."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.gaps import counted_metrics
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Metric

Sense = Literal["<=", ">="]
# Columns of costs, which every row of a trial that did not fail holds.
COSTS = ("unlearning_compute_seconds",)
# Averages of the metrics that count, each with the metrics' columns that it is computed from.
_AVERAGES = {"average_gap": "_gap", "average_excess": "_excess"}
# What a row holds of each of a metric's columns.
_OF_A_METRIC = ("", "_gap", "_excess")
_WRITTEN = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


@schema
class Constraint:
    """A bound on the mean of a column over the tuning seeds.

    Attributes:
        column: of rows: a metric's (test_accuracy), its gap (test_accuracy_gap) or its gap over
            the noise floor (test_accuracy_excess); average_gap, average_excess, or
            unlearning_compute_seconds.
        sense: whether the mean must be at most (`<=`) or at least (`>=`) the bound.
        bound: in the column's unit.
    """

    column: str
    sense: Sense
    bound: Annotated[float, Field(allow_inf_nan=False)]

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """A constraint as written in a sweep file.

        >>> Constraint.parse("test_accuracy_gap <= 1").bound
        1.0

        Raises:
            ValueError: it is not `column <= number` or `column >= number`.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError("not `column <= number` or `column >= number`")
        column, sense, bound = found.groups()
        try:
            number = float(bound)
        except ValueError:
            raise ValueError(f"{bound} is not a number") from None
        if not math.isfinite(number):
            raise ValueError(f"{bound} is not finite")
        return cls(column=column, sense=cast(Sense, sense), bound=number)

    def excess(self, row: Mapping[str, Any]) -> float | None:
        """How far a row is beyond the bound, at most 0 if within; None without a value."""
        value = row.get(self.column)
        if value is None:
            return None
        beyond = float(value) - self.bound
        return beyond if self.sense == "<=" else -beyond

    def uses_floor(self) -> bool:
        """Whether its column is over a noise floor."""
        return self.column.endswith("_excess")

    def uses_retrained(self) -> bool:
        """Whether its column is a distance from retrained models."""
        return self.column.endswith(("_gap", "_excess"))

    def reads(self, metric: Metric | type[Metric]) -> bool:
        """Whether its column is one of the metric's."""
        return any(self.column in _of_metric(column) for column in metric.columns)

    def metrics(self, metrics: Collection[Any]) -> tuple[Any, ...]:
        """Those of a sweep's metrics that must be measured for it."""
        if self.column in _AVERAGES:
            return counted_metrics(metrics)
        return tuple(metric for metric in metrics if self.reads(metric))

    def check(self, metrics: Collection[Metric]) -> None:
        """Refuse a column that the rows of trials do not have.

        Args:
            metrics: those that the sweep measures.

        Raises:
            ConfigError: there is no such column, or its metric cannot be measured in trials.
        """
        for metric in metrics:
            if self.reads(metric) and metric.needs().other_seeds:
                raise ConfigError(
                    self.column,
                    f"{metric.name} compares models of several seeds, which trials do not have",
                    "remove the constraint",
                )
        known = set(_columns(metrics))
        if self.column not in known:
            raise ConfigError(
                self.column,
                f"no column that is measured in trials ({did_you_mean(self.column, known)})",
                "name such a column, or add its metric to metrics",
            )

    def __str__(self) -> str:
        return f"{self.column} {self.sense} {repr(self.bound).removesuffix('.0')}"


def _columns(metrics: Collection[Metric]) -> Iterable[str]:
    """The columns that a trial's row has if it measures these metrics."""
    yield from COSTS
    if counted_metrics(metrics):
        yield from _AVERAGES
    for metric in metrics:
        if not metric.needs().other_seeds:
            for column in metric.columns:
                yield from _of_metric(column)


def _of_metric(column: str) -> list[str]:
    return [f"{column}{of}" for of in _OF_A_METRIC]
