"""Test accuracy on the remaining classes."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.metrics.accuracy import (
    accuracy,
    needs_whole_classes,
    of_forgotten_classes,
)
from unlearn_ray.metrics.base import Evidence, Measurement, Metric


@register("test_accuracy_remaining")
@schema
class TestAccuracyRemaining(Metric):
    """Accuracy on test samples of the classes that were not forgotten, in percent.

    "Contrastive Unlearning" (2401.10458), section 5.1: "remain test", what class unlearning
    leaves of a model's use.
    """

    columns: ClassVar[dict[str, str]] = {"test_accuracy_remaining": "TA remaining"}
    in_average_gap: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Samples of a class that is also retained are no forgotten class."""
        return needs_whole_classes(cls, forget_set)

    def measure(self, evidence: Evidence) -> Measurement:
        """Percent of these test samples classified correctly.

        Raises:
            DataError: there are none.
        """
        remaining = ~of_forgotten_classes(evidence)
        return Measurement({"test_accuracy_remaining": accuracy(evidence, "test", remaining)})
