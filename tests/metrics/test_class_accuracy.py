"""Accuracies of class and sample unlearning, and the unlearn score, against loops."""

from __future__ import annotations

import pytest
import torch

from tests.metrics.evidence import FORGET_SETS, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import find
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.base import SetName


def measure(name: str, evidence: Observed) -> float:
    return find(Metric, name)().measure(evidence).values[name]


def percent_right(evidence: Observed, part: SetName, classes: set[int]) -> float:
    right = counted = 0
    rows, labels = evidence.probabilities(part).tolist(), evidence.labels(part).tolist()
    for row, label in zip(rows, labels, strict=True):
        if label in classes:
            counted += 1
            right += row.index(max(row)) == label
    return 100 * right / counted


@pytest.mark.parametrize("seed", range(4))
def test_test_samples_are_told_apart_by_their_class(seed: int) -> None:
    evidence = random_evidence(seed=seed, forgotten="classes")
    remaining = measure("test_accuracy_remaining", evidence)
    assert remaining == percent_right(evidence, "test", {1, 2, 3})
    forgotten = measure("test_accuracy_forgotten", evidence)
    assert forgotten == percent_right(evidence, "test", {0})
    # Together they are the test accuracy.
    share = (evidence.labels("test") == 0).double().mean().item()
    together = share * forgotten + (1 - share) * remaining
    assert measure("test_accuracy", evidence) == pytest.approx(together)


@pytest.mark.parametrize("seed", range(4))
def test_the_unlearn_score_is_the_distance_of_two_accuracies(seed: int) -> None:
    evidence = random_evidence(seed=seed)
    every = {0, 1, 2, 3}
    test, forget = (percent_right(evidence, part, every) for part in ("test", "forget"))
    assert measure("unlearn_score", evidence) == pytest.approx(max(test - forget, forget - test))


def test_a_class_that_is_not_tested_is_told() -> None:
    labels = {
        "retain": torch.tensor([1, 2]),
        "forget": torch.tensor([0]),
        "test": torch.tensor([1]),
    }
    evidence = GivenEvidence(labels, {"test": torch.eye(3)[:1]})
    with pytest.raises(DataError, match="no sample of the classes to measure"):
        measure("test_accuracy_forgotten", evidence)
    assert measure("test_accuracy_remaining", evidence) == 0.0


@pytest.mark.parametrize("name", ["test_accuracy_remaining", "unlearn_score"])
def test_an_empty_set_is_refused(name: str) -> None:
    evidence = random_evidence({"retain": 5, "forget": 5, "test": 0})
    with pytest.raises(DataError, match="test set of 0 samples"):
        measure(name, evidence)


def test_each_belongs_to_one_kind_of_unlearning() -> None:
    samples, classes = FORGET_SETS["samples"], FORGET_SETS["classes"]
    for name in ("test_accuracy_remaining", "test_accuracy_forgotten"):
        assert find(Metric, name).unsupported(classes) is None
        assert "random forgets samples" in str(find(Metric, name).unsupported(samples))
    assert find(Metric, "unlearn_score").unsupported(samples) is None
    assert "classes forgets whole classes" in str(
        find(Metric, "unlearn_score").unsupported(classes)
    )
