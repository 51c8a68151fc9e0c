"""Every registered metric keeps the contract, unasked."""

from __future__ import annotations

import math

import pytest
import torch

from tests.metrics.evidence import random_evidence
from unlearn_ray.core.registry import parts, summary
from unlearn_ray.metrics.base import Metric

METRICS = parts(Metric)


@pytest.mark.parametrize("name", METRICS)
def test_returns_exactly_its_columns_all_finite(name: str) -> None:
    sizes = {"retain": 12, "forget": 5, "test": 9}
    evidence = random_evidence(sizes, seed=1, before=random_evidence(sizes, seed=2))
    measured = METRICS[name]().measure(evidence)
    assert list(measured.values) == list(METRICS[name].columns)
    assert all(type(v) is float and math.isfinite(v) for v in measured.values.values())
    assert measured.values or measured.arrays
    for array in measured.arrays.values():
        assert isinstance(array, torch.Tensor)
        assert bool(array.isfinite().all())


@pytest.mark.parametrize("name", METRICS)
def test_measures_the_same_twice(name: str) -> None:
    evidence = random_evidence(seed=1, before=random_evidence(seed=2))
    first, second = (METRICS[name]().measure(evidence) for _ in range(2))
    assert first.values == second.values
    assert first.arrays.keys() == second.arrays.keys()
    assert all(torch.equal(first.arrays[a], second.arrays[a]) for a in first.arrays)


@pytest.mark.parametrize("name", METRICS)
def test_one_forget_sample_is_enough(name: str) -> None:
    sizes = {"retain": 12, "forget": 1, "test": 9}
    evidence = random_evidence(sizes, seed=1, before=random_evidence(sizes, seed=2))
    assert all(math.isfinite(v) for v in METRICS[name]().measure(evidence).values.values())


def test_columns_are_unique_and_described() -> None:
    columns = [column for metric in METRICS.values() for column in metric.columns]
    headers = [header for metric in METRICS.values() for header in metric.columns.values()]
    assert len(set(columns)) == len(columns)
    assert len(set(headers)) == len(headers)
    assert all(summary(metric) for metric in METRICS.values())


def test_the_average_gap_counts_the_five_of_the_paper() -> None:
    counted = {name for name, metric in METRICS.items() if metric.in_average_gap}
    assert counted == {
        "retain_accuracy", "test_accuracy", "forget_accuracy", "cmia_efficacy", "emia_efficacy",
    }  # fmt: skip
    assert all(len(METRICS[name].columns) == 1 for name in counted)
