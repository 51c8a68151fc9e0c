"""Forget accuracy (UA)."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import Accuracy
from unlearn_ray.quantities.base import SetName


@register("forget_accuracy")
@schema
class ForgetAccuracy(Accuracy):
    """Accuracy on the forget set, in percent (MUC, section 3.3: UA).

    Note: MUC's UA is this accuracy, near the test accuracy for a retrained model; the UA of
    Unlearn-Sparse and SalUn is 100 minus this.
    """

    columns: ClassVar[dict[str, str]] = {"forget_accuracy": "UA"}
    by_default: ClassVar[bool] = True
    part: ClassVar[SetName] = "forget"
