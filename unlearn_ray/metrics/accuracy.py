"""What the accuracies share."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor, isin

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.base import SetName


def accuracy(model: Observed, part: SetName, among: Bool[Tensor, " n"] | None = None) -> float:
    """Percent of a set that is classified correctly; the first class wins ties.

    Args:
        model: that is measured.
        part: the set.
        among: count these of its samples alone.

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
            "has no sample of the classes that are to be measured",
            "forget other classes",
        )
    return 100 * int(correct[among].sum()) / int(among.sum())


def of_forgotten_classes(model: Observed) -> Bool[Tensor, " test"]:
    """Which test samples are of a class that the forget set has and the retain set lacks."""
    test, forget, retain = (model.labels(part) for part in ("test", "forget", "retain"))
    return isin(test, forget) & ~isin(test, retain)


@schema
class ClassAccuracy(Metric):
    """What the two accuracies share that tell forgotten from remaining classes, in percent."""

    in_average_gap: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Samples of a class that is also retained are no forgotten class."""
        if forget_set.whole_classes:
            return None
        return f"{cls.name} needs whole classes to be forgotten; {forget_set.name} forgets samples"


def require_samples(model: Observed, *sets: SetName) -> None:
    """Refuse to measure on nothing.

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
