"""Retain accuracy (RA)."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import Accuracy
from unlearn_ray.quantities.base import SetName


@register("retain_accuracy")
@schema
class RetainAccuracy(Accuracy):
    """Accuracy on the retain set, in percent (MUC, section 3.3: RA)."""

    columns: ClassVar[dict[str, str]] = {"retain_accuracy": "RA"}
    by_default: ClassVar[bool] = True
    part: ClassVar[SetName] = "retain"
