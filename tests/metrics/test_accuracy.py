from __future__ import annotations

import pytest
import torch

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import find
from unlearn_ray.metrics.base import Metric

METRICS = {"retain_accuracy": "retain", "test_accuracy": "test", "forget_accuracy": "forget"}


@pytest.mark.parametrize(("name", "part"), METRICS.items())
def test_counts_correct_predictions_in_percent(name: str, part: str) -> None:
    evidence = random_evidence()
    correct = 0
    for row, label in zip(
        evidence.probabilities(part).tolist(), evidence.labels(part).tolist(), strict=True
    ):
        best = max(range(len(row)), key=lambda c: row[c])
        correct += best == label
    assert find(Metric, name)().measure(evidence).values == {name: 100 * correct / SIZES[part]}


@pytest.mark.parametrize(("name", "part"), METRICS.items())
def test_all_and_none(name: str, part: str) -> None:
    labels = {p: torch.tensor([0, 2, 1]) for p in SIZES}
    right = torch.eye(3)[[0, 2, 1]]
    wrong = torch.eye(3)[[1, 0, 2]]
    metric = find(Metric, name)()
    assert metric.measure(GivenEvidence(labels, {part: right})).values[name] == 100.0
    assert metric.measure(GivenEvidence(labels, {part: wrong})).values[name] == 0.0


@pytest.mark.parametrize(("name", "part"), METRICS.items())
def test_an_empty_set_is_refused(name: str, part: str) -> None:
    evidence = random_evidence({**SIZES, part: 0})
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        find(Metric, name)().measure(evidence)
