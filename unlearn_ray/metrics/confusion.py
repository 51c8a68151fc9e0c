"""Interclass confusion that is left on test samples."""

from __future__ import annotations

from typing import ClassVar

import torch

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.confusion import Confusion as ConfusionSet
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("confusion")
@schema
class Confusion(Metric):
    """Percent of test samples of two classes that are taken for the other of both.

    Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022
    (2201.06640): of a forget set of swapped labels, which the original has learned. Test labels
    are clean. The authors' code prints the number of such samples of both classes together; here
    it is divided by the number of test samples of both.
    """

    columns: ClassVar[dict[str, str]] = {"confusion": "Confusion"}
    in_average_gap: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Refuses forget sets with true labels."""
        if isinstance(forget_set, ConfusionSet):
            return None
        return f"{cls.name} is for swapped labels; {forget_set.name} swaps none"

    def measure(self, model: Observed) -> Measurement:
        """The share; the classes are those of the forget samples.

        Raises:
            DataError: they are not two, or have no test sample.
        """
        classes = torch.unique(model.labels("forget"))
        if len(classes) != 2:
            raise DataError(
                f"forget set of {len(classes)} classes",
                "confusion is between two",
                "swap labels of two classes",
            )
        true, predicted = model.labels("test"), model.probabilities("test").argmax(dim=1)
        among = (true == classes[0]) | (true == classes[1])
        if not among.any():
            raise DataError(
                "test set", "has no sample of the classes to measure", "swap other classes"
            )
        swapped = among & (predicted == classes.sum() - true)
        return Measurement({self.name: 100 * int(swapped.sum()) / int(among.sum())})
