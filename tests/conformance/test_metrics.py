"""Every registered metric keeps the contract, unasked."""

from __future__ import annotations

import math

import pytest
import torch

from tests.metrics.evidence import FORGET_SETS, metrics_of, random_evidence
from unlearn_ray.core.registry import parts, summary
from unlearn_ray.metrics.base import Metric
from unlearn_ray.quantities.base import SetName

METRICS = parts(Metric)
CASES = [(name, forgotten) for forgotten in FORGET_SETS for name in metrics_of(forgotten)]
each_case = pytest.mark.parametrize(("name", "forgotten"), CASES)


def test_every_metric_says_something_of_some_forget_set_and_else_why_not() -> None:
    assert {name for name, _ in CASES} == set(METRICS)
    for forgotten, forget_set in FORGET_SETS.items():
        for name in METRICS.keys() - metrics_of(forgotten).keys():
            assert name in str(METRICS[name].unsupported(forget_set))


@each_case
def test_returns_exactly_its_columns_all_finite(name: str, forgotten: str) -> None:
    sizes: dict[SetName, int] = {"retain": 12, "forget": 5, "test": 9}
    before = random_evidence(sizes, seed=2)
    evidence = random_evidence(sizes, seed=1, before=before, forgotten=forgotten)
    measured = METRICS[name]().measure(evidence)
    assert list(measured.values) == list(METRICS[name].columns)
    assert all(type(v) is float and math.isfinite(v) for v in measured.values.values())
    assert measured.values or measured.arrays
    for array in measured.arrays.values():
        assert isinstance(array, torch.Tensor)
        assert bool(array.isfinite().all())


@each_case
def test_measures_the_same_twice(name: str, forgotten: str) -> None:
    evidence = random_evidence(seed=1, before=random_evidence(seed=2), forgotten=forgotten)
    first, second = (METRICS[name]().measure(evidence) for _ in range(2))
    assert first.values == second.values
    assert first.arrays.keys() == second.arrays.keys()
    assert all(torch.equal(first.arrays[a], second.arrays[a]) for a in first.arrays)


@each_case
def test_one_forget_sample_is_enough(name: str, forgotten: str) -> None:
    """One of each class, where labels are swapped."""
    few = 2 if forgotten == "swapped" else 1
    sizes: dict[SetName, int] = {"retain": 12, "forget": few, "test": 9}
    before = random_evidence(sizes, seed=2)
    evidence = random_evidence(sizes, seed=1, before=before, forgotten=forgotten)
    assert all(math.isfinite(v) for v in METRICS[name]().measure(evidence).values.values())


def test_columns_are_unique_and_described() -> None:
    columns = [column for metric in METRICS.values() for column in metric.columns]
    headers = [header for metric in METRICS.values() for header in metric.columns.values()]
    assert len(set(columns)) == len(columns)
    assert len(set(headers)) == len(headers)
    assert all(summary(metric) for metric in METRICS.values())


def test_the_average_gap_counts_the_five_of_the_paper_unless_others_are_named() -> None:
    counted = {name for name, metric in METRICS.items() if metric.in_average_gap}
    assert {name for name in counted if METRICS[name].by_default} == {
        "retain_accuracy", "test_accuracy", "forget_accuracy", "cmia_efficacy", "emia_efficacy",
    }  # fmt: skip
    assert {name for name in counted if not METRICS[name].by_default} == {
        "test_accuracy_remaining", "test_accuracy_forgotten", "confusion",
        "pair_similarity_retain", "pair_similarity_forget",
    }  # fmt: skip
    assert all(len(METRICS[name].columns) == 1 for name in counted)


def test_what_is_measured_by_default_can_be_measured_of_every_forget_set() -> None:
    by_default = {name for name, metric in METRICS.items() if metric.by_default}
    assert all(by_default <= metrics_of(forgotten).keys() for forgotten in FORGET_SETS)
