"""The metric of interclass confusion, against a loop."""

from __future__ import annotations

import pytest
import torch

from tests.metrics.evidence import GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.confusion import Confusion


def measure(evidence: Observed) -> float:
    return Confusion().measure(evidence).values["confusion"]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_counted_by_hand(seed: int) -> None:
    evidence = random_evidence(seed=seed, forgotten="swapped")
    taken = among = 0
    rows, labels = evidence.probabilities("test").tolist(), evidence.labels("test").tolist()
    for row, label in zip(rows, labels, strict=True):
        predicted = row.index(max(row))
        among += label in (0, 1)
        taken += (label, predicted) in ((0, 1), (1, 0))
    assert measure(evidence) == 100 * taken / among


def test_both_directions_count_and_other_errors_do_not() -> None:
    test = torch.tensor([3, 3, 7, 7, 7, 1])
    predicted = torch.tensor([7, 3, 3, 1, 7, 3])
    labels = {"forget": torch.tensor([7, 3]), "retain": test, "test": test}
    evidence = GivenEvidence(labels, {"test": torch.eye(8)[predicted]})
    assert measure(evidence) == 40.0


@pytest.mark.parametrize(
    ("forget", "test", "reason"),
    [([2, 2], [2, 1], "forget set of 1 classes"), ([1, 2], [0, 3], "no sample of the classes")],
)
def test_what_cannot_be_measured(forget: list[int], test: list[int], reason: str) -> None:
    labels = {part: torch.tensor(given) for part, given in (("forget", forget), ("test", test))}
    with pytest.raises(DataError, match=reason):
        measure(GivenEvidence(labels, {"test": torch.eye(4)[:2]}))
