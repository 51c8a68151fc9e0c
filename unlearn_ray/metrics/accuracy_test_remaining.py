"""Test accuracy on the remaining classes."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import ClassAccuracy


@register("test_accuracy_remaining")
@schema
class AccuracyOnTestRemaining(ClassAccuracy):
    """Accuracy on test samples of the classes that were not forgotten, in percent.

    "Contrastive Unlearning" (2401.10458), section 5.1: "remain test", the utility that is left
    after class unlearning.
    """

    columns: ClassVar[dict[str, str]] = {"test_accuracy_remaining": "TA remaining"}
    forgotten: ClassVar[bool] = False
