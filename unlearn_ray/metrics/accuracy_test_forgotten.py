"""Test accuracy on the forgotten classes."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import ClassAccuracy


@register("test_accuracy_forgotten")
@schema
class AccuracyOnTestForgotten(ClassAccuracy):
    """Accuracy on test samples of the forgotten classes, in percent.

    "Contrastive Unlearning" (2401.10458), section 5.1: "unlearn test". A model retrained without
    a class never predicts it, so its accuracy is 0.
    """

    columns: ClassVar[dict[str, str]] = {"test_accuracy_forgotten": "TA forgotten"}
    forgotten: ClassVar[bool] = True
