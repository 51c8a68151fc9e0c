"""Unlearn score: the difference between test and forget accuracy."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.metrics.accuracy import accuracy
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("unlearn_score")
@schema
class UnlearnScore(Metric):
    """|test accuracy - forget accuracy|, in percentage points; lower is better.

    "Contrastive Unlearning" (2401.10458), section 5.1, for sample unlearning. It needs no
    retrained model. Its two accuracies count in the average gap, so it does not.
    """

    columns: ClassVar[dict[str, str]] = {"unlearn_score": "Unlearn score"}
    needs_classes: ClassVar[bool] = True

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Refuses class unlearning, whose perfect result, forget accuracy 0, scores worst."""
        if not forget_set.whole_classes:
            return None
        return f"{cls.name} is for forgotten samples; {forget_set.name} forgets whole classes"

    def measure(self, model: Observed) -> Measurement:
        """The difference.

        Raises:
            DataError: a set is empty.
        """
        difference = accuracy(model, "test") - accuracy(model, "forget")
        return Measurement({"unlearn_score": abs(difference)})
