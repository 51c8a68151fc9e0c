"""Checks of objectives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from unlearn_ray.core.registry import parts
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Objective
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny


def objective_checks(objective: type[Objective]) -> Iterator[Check]:
    """The checks of an objective."""
    for check in (some_metrics_give_it_a_score, a_row_without_values_has_no_score):
        yield Check(check, objective)


def some_metrics_give_it_a_score(objective: type[Objective]) -> None:
    """Of all metrics it chooses some, in their order, and accepts them; a cost needs none."""
    metrics = [tiny(metric) for metric in parts(Metric).values()]
    made = tiny(objective)
    chosen = made.metrics(metrics)
    assert bool(chosen) == objective.of_metrics
    assert [one for one in metrics if one in chosen] == list(chosen)
    assert made.metrics(chosen) == chosen
    made.check(chosen)


def a_row_without_values_has_no_score(objective: type[Objective]) -> None:
    """A value that is missing is never replaced by a number."""
    assert tiny(objective).score(defaultdict(lambda: None)) is None
