"""Test accuracy (TA)."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import Accuracy


@register("test_accuracy")
@schema
class AccuracyOnTest(Accuracy):
    """Accuracy on the test set, in percent (MUC, section 3.3: TA).

    It does not count in the average gap if those on remaining and forgotten classes do.
    """

    columns: ClassVar[dict[str, str]] = {"test_accuracy": "TA"}
    by_default: ClassVar[bool] = True
    made_of: ClassVar[frozenset[str]] = frozenset(
        {"test_accuracy_remaining", "test_accuracy_forgotten"}
    )
