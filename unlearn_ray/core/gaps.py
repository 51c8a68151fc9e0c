"""The retrain gap of every metric, and the scores that are derived from gaps.

MUC: "Avg. Gap" is the mean over metrics of |method - Retrain|; AGP (appendix B.3) divides each
gap by Retrain's value first. "Tug of War" (Zhao et al., "What Makes Unlearning Hard and What to
Do About It", NeurIPS 2024) multiplies 1 - gap over three accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Protocol, TypeVar

from unlearn_ray.core.errors import UnlearnRayError, listed

# The metrics of Tug of War: accuracies, in percent.
TUG_OF_WAR = ("forget_accuracy", "retain_accuracy", "test_accuracy")


class Columns(Protocol):
    """What a metric, or its class, declares of its columns; see `metrics.base.Metric`."""

    @property
    def columns(self) -> Mapping[str, str]:
        """Each with its header in printed tables."""

    @property
    def in_average_gap(self) -> bool:
        """Whether its column may count in the average gap."""

    @property
    def made_of(self) -> frozenset[str]:
        """Columns whose mean its own column is."""


Declared = TypeVar("Declared", bound=Columns)


def counted_metrics(metrics: Collection[Declared]) -> tuple[Declared, ...]:
    """The metrics that count in the average gap of a sweep that measures `metrics`, in order.

    A metric that is the mean of others that count is excluded: test accuracy, if those on
    remaining and on forgotten classes count.
    """
    may = [metric for metric in metrics if metric.in_average_gap]
    columns = {column for metric in may for column in metric.columns}
    return tuple(one for one in may if not one.made_of or not one.made_of <= columns)


def counted_columns(metrics: Collection[Columns]) -> list[str]:
    """The columns of the counted metrics, in the order of the metrics."""
    return [column for metric in counted_metrics(metrics) for column in metric.columns]


def gaps(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """|value - reference| of every metric of `values`, in the metric's unit.

    Raises:
        UnlearnRayError: the reference lacks a metric; it is never replaced by a default number.
    """
    missing = sorted(set(values) - set(reference))
    if missing:
        raise UnlearnRayError(
            f"retrained model's {listed(missing)}",
            "was not measured, so there is no gap",
            "measure the same metrics of the retrained model",
        )
    return {name: abs(value - reference[name]) for name, value in values.items()}


def average_gap(gap: Mapping[str, float], counted: Collection[str]) -> float:
    """Mean of the gaps of the `counted` metrics (MUC's Avg. Gap), in their common unit."""
    return math.fsum(gap[name] for name in counted) / len(counted)


def average_gap_percentage(
    gap: Mapping[str, float], reference: Mapping[str, float], counted: Collection[str]
) -> float:
    """Mean of gap / |reference|, in percent (MUC's AGP, appendix B.3).

    A metric whose reference is 0 has no percentage: the result is NaN if its gap is not 0.
    """
    shares = [_share(gap[name], reference[name]) for name in counted]
    return 100 * math.fsum(shares) / len(counted)


def tug_of_war(gap: Mapping[str, float]) -> float | None:
    """ToW = (1 - |dFA|) (1 - |dRA|) (1 - |dTA|), accuracies in [0, 1]; 1 is best.

    Args:
        gap: of every measured metric, accuracies in percent.

    Returns:
        None if one of the three accuracies was not measured.
    """
    if not gap.keys() >= set(TUG_OF_WAR):
        return None
    return math.prod(1 - gap[name] / 100 for name in TUG_OF_WAR)


def _share(gap: float, reference: float) -> float:
    if reference == 0:
        return 0.0 if gap == 0 else math.nan
    return gap / abs(reference)
