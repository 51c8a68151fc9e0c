"""Expect: a brought original has the test accuracy that the sweep file says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar

from unlearn_ray.core.errors import TrialError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.metrics.accuracy_test import AccuracyOnTest
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.kinds.bring import Bring
from unlearn_ray.steps.kinds.measure import Measure
from unlearn_ray.steps.runtime import Produced, Runtime


@register("expect")
@schema
class Expect(Step):
    """A check of a brought original's test accuracy, before any trial.

    Attributes:
        accuracy: that it should have, as a share.
        tolerance: largest difference.
    """

    exclusive: ClassVar[bool] = False

    accuracy: UnitInterval
    tolerance: UnitInterval

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """The check, where the sweep file has a number."""
        original = request.setting.original
        if original is None or original.expect is None:
            return
        if request.reporting or not request.replicate:
            yield cls(
                setting=request.setting,
                seed=request.seed,
                replicate=request.replicate,
                accuracy=original.expect,
                tolerance=original.tolerance,
            )

    def own_config(self) -> dict[str, Any]:
        """Both numbers."""
        return {"accuracy": self.accuracy, "tolerance": self.tolerance}

    @cached_property
    def model(self) -> Bring:
        """The step that brings the original."""
        return self.same(Bring, role="original")

    @cached_property
    def _measure(self) -> Measure:
        return self.same(Measure, model=self.model, metric=AccuracyOnTest())

    def inputs(self) -> dict[str, Step]:
        """The measured accuracy."""
        return {"measured": self._measure}

    @property
    def batch(self) -> str:
        """With the measurement."""
        return self._measure.batch

    @property
    def batch_title(self) -> str:
        """The batch, in words."""
        return self._measure.batch_title

    def run(self, runtime: Runtime) -> Produced:
        """Compare.

        Raises:
            TrialError: the accuracy is another.
        """
        (percent,) = runtime.known.of(self._measure).value("values", dict[str, float]).values()
        measured = percent / 100
        if abs(measured - self.accuracy) > self.tolerance:
            raise TrialError(
                f"original ({self.run_title})",
                f"its test accuracy is {measured:.4f}, and expected are {self.accuracy:g} within "
                f"{self.tolerance:g}",
                "check its normalise, classes, layout, and the dataset's size and test set, or "
                "correct original.expect",
            )
        return Produced({}, {"accuracy": measured, **runtime.compute.machine.facts()})

    def __str__(self) -> str:
        return f"expect accuracy {self.accuracy:g} of the original ({self.run_title})"
