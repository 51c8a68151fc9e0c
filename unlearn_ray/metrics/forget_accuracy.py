"""Forget accuracy (UA)."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import accuracy
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("forget_accuracy")
@schema
class ForgetAccuracy(Metric):
    """Accuracy on the forget set, in percent (MUC, section 3.3: UA).

    Beware: MUC's UA is this accuracy, near the test accuracy for a retrained model; the UA of
    Unlearn-Sparse and SalUn is 100 minus it.
    """

    columns: ClassVar[dict[str, str]] = {"forget_accuracy": "UA"}
    in_average_gap: ClassVar[bool] = True
    by_default: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    def measure(self, model: Observed) -> Measurement:
        """Percent of the forget set classified correctly."""
        return Measurement({"forget_accuracy": accuracy(model, "forget")})
