"""The cost of unlearning: MUC's RTE, in compute seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.objectives.base import Direction, Kind, Objective


@register("unlearning_seconds")
@schema
class UnlearningSeconds(Objective):
    """Compute seconds of unlearning: CPU time of all threads, or device time of GPUs.

    Measured, so that a search by it differs a little from store to store; within one it does not,
    since a model is unlearned once.
    """

    columns: ClassVar[Mapping[str, Direction]] = {"unlearning_compute_seconds": "minimize"}
    of_metrics: ClassVar[bool] = False

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        """None: every row holds it."""
        return ()

    def uses_retrained(self) -> bool:
        """False: it compares with nothing."""
        return False
