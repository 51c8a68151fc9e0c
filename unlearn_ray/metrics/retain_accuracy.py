"""Retain accuracy (RA)."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import accuracy
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("retain_accuracy")
@schema
class RetainAccuracy(Metric):
    """Accuracy on the retain set, in percent (MUC, section 3.3: RA)."""

    columns: ClassVar[dict[str, str]] = {"retain_accuracy": "RA"}
    in_average_gap: ClassVar[bool] = True
    by_default: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    def measure(self, model: Observed) -> Measurement:
        """Percent of the retain set classified correctly."""
        return Measurement({"retain_accuracy": accuracy(model, "retain")})
