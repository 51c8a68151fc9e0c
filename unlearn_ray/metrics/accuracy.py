"""Base classes of the accuracies."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor, isin

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.metrics.base import Measurement, Metric, Observed
from unlearn_ray.quantities.base import SetName


def accuracy(model: Observed, part: SetName, among: Bool[Tensor, " n"] | None = None) -> float:
    """Percent of a set that is classified correctly; the first class wins ties.

    Args:
        model: the measured model.
        part: the set.
        among: mask of the samples to count.

    Raises:
        DataError: there is nothing to count.
    """
    require_samples(model, part)
    correct = model.probabilities(part).argmax(dim=1) == model.labels(part)
    if among is None:
        return 100 * int(correct.sum()) / model.size(part)
    if not among.any():
        raise DataError(
            f"{part} set",
            "has no sample of the classes to measure",
            "forget other classes",
        )
    return 100 * int(correct[among].sum()) / int(among.sum())


@schema
class Accuracy(Metric):
    """Percent of a set that is classified correctly, in a column named after the metric.

    Class attributes:
        part: the set.
    """

    in_average_gap: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True
    part: ClassVar[SetName] = "test"

    def measure(self, model: Observed) -> Measurement:
        """The accuracy.

        Raises:
            DataError: there is nothing to count.
        """
        return Measurement({self.name: accuracy(model, self.part, self.among(model))})

    def among(self, model: Observed) -> Bool[Tensor, " n"] | None:
        """Mask of the samples that count; None if all do."""
        return None


@schema
class ClassAccuracy(Accuracy):
    """An accuracy on test samples of some classes.

    Class attributes:
        forgotten: whether on forgotten classes, which the retain set lacks, or on all others.
    """

    forgotten: ClassVar[bool]

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Refuses sample unlearning, which forgets no whole class."""
        if forget_set.whole_classes:
            return None
        return f"{cls.name} needs whole classes to be forgotten; {forget_set.name} forgets samples"

    def among(self, model: Observed) -> Bool[Tensor, " test"]:
        """Test samples of these classes."""
        test, forget, retain = (model.labels(part) for part in ("test", "forget", "retain"))
        return (isin(test, forget) & ~isin(test, retain)) == self.forgotten


def require_samples(model: Observed, *sets: SetName) -> None:
    """Refuse to measure on empty sets.

    Raises:
        DataError: one of the sets is empty.
    """
    for part in sets:
        if model.size(part) == 0:
            raise DataError(
                f"{part} set of 0 samples",
                "there is nothing to measure",
                f"choose a dataset, validation and forget set that leave a {part} set",
            )
