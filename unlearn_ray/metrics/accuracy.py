"""What the three accuracies share."""

from __future__ import annotations

from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.base import Evidence, SetName


def accuracy(evidence: Evidence, part: SetName) -> float:
    """Percent of a set that the linear probe classifies correctly; the first class wins ties.

    Raises:
        DataError: the set is empty.
    """
    require_samples(evidence, part)
    correct = evidence.probabilities(part).argmax(dim=1) == evidence.labels(part)
    return 100 * int(correct.sum()) / evidence.size(part)


def require_samples(evidence: Evidence, *sets: SetName) -> None:
    """Refuse to measure on nothing.

    Raises:
        DataError: one of the sets is empty.
    """
    for part in sets:
        if evidence.size(part) == 0:
            raise DataError(
                f"{part} set of 0 samples",
                "there is nothing to measure",
                f"choose a dataset, validation and forget set that leave a {part} set",
            )
