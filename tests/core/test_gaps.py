"""Gaps against MUC's own tables."""

from __future__ import annotations

import math

import pytest

from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.core.gaps import average_gap, average_gap_percentage, gaps, tug_of_war

NAMES = ("EMIA", "RA", "TA", "UA", "CMIA")
# Table 1, MoCo, CIFAR-10, 10 %: Retrain, and each method with its printed Avg. Gap and AGP
# (Table 9).
RETRAIN = dict(zip(NAMES, (49.72, 89.54, 87.76, 88.42, 34.38), strict=True))
PRINTED = {
    "Fine-Tune": ((50.15, 88.34, 86.46, 87.59, 29.42), 1.74, 3.81),
    # The table prints 2.67; the mean of the five gaps printed beside it is 2.57.
    "Grad. Ascent": ((44.95, 89.92, 88.28, 89.76, 28.53), 2.57, 5.83),
    "NegGrad": ((48.43, 89.25, 87.35, 88.58, 28.89), 1.53, 3.91),
    "Ours": ((50.28, 89.14, 87.24, 88.20, 31.50), 0.92, 2.16),
}


@pytest.mark.parametrize("method", PRINTED)
def test_the_papers_average_gaps(method: str) -> None:
    numbers, printed_gap, printed_percentage = PRINTED[method]
    gap = gaps(dict(zip(NAMES, numbers, strict=True)), RETRAIN)
    # The paper rounds the gap of every metric before its mean.
    assert average_gap(gap, NAMES) == pytest.approx(printed_gap, abs=0.011)
    percentage = average_gap_percentage(gap, RETRAIN, NAMES)
    assert percentage == pytest.approx(printed_percentage, abs=0.1)


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(UnlearnRayError, match="CMIA"):
        gaps({"RA": 1.0, "CMIA": 2.0}, {"RA": 1.0})


def test_a_reference_of_zero_has_no_percentage() -> None:
    assert average_gap_percentage({"RA": 0.0}, {"RA": 0.0}, ["RA"]) == 0
    assert math.isnan(average_gap_percentage({"RA": 1.0}, {"RA": 0.0}, ["RA"]))


def test_tug_of_war() -> None:
    names = ("forget_accuracy", "retain_accuracy", "test_accuracy", "emia_efficacy")
    retrained = dict(zip(names, (86.0, 100.0, 85.5, 50.0), strict=True))
    unlearned = dict(zip(names, (96.0, 98.0, 80.5, 10.0), strict=True))
    found = tug_of_war(gaps(unlearned, retrained))
    assert found == pytest.approx((1 - 0.10) * (1 - 0.02) * (1 - 0.05))
    assert tug_of_war(gaps(retrained, retrained)) == 1.0
    assert tug_of_war(dict.fromkeys(names, 100.0)) == 0.0
    for name in names[:3]:
        without = {key: value for key, value in unlearned.items() if key != name}
        assert tug_of_war(gaps(without, retrained)) is None
