"""Prototype relearning against loops, and on a model that has only lost its classifier."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.metrics.evidence import FORGET_SETS, SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.prototype_relearning import (
    PrototypeRelearning,
    first_of_classes,
    relearned,
)
from unlearn_ray.quantities.base import Head, Observation, Quantity


def with_head(head: Head, labels: torch.Tensor) -> Observed:
    """A model of which nothing but its last layer is known."""

    def observe(_: Quantity) -> Observation:
        return Observation(
            arrays={"inputs": head.inputs, "weights": head.weights, "bias": head.bias}
        )

    return Observed({"forget": torch.arange(len(labels))}, {"forget": labels}, observe)


def random_head(n: int, classes: int, d: int = 6, seed: int = 0) -> Head:
    drawn = torch.Generator().manual_seed(seed)
    inputs, weights = (torch.randn(rows, d, generator=drawn) for rows in (n, classes))
    return Head(inputs, weights, torch.randn(classes, generator=drawn))


@pytest.mark.parametrize("shots", [1, 5, 1000])
def test_it_is_a_naive_computation(shots: int) -> None:
    labels = torch.tensor([4, 1, 1, 4, 1, 2, 4, 1, 4, 1, 1, 1, 1, 1])
    head = random_head(len(labels), 5)
    weights, used = [row.tolist() for row in head.weights], set()
    for label in (1, 2, 4):
        places = [place for place, each in enumerate(labels.tolist()) if each == label]
        chosen = places[: min(shots, len(places) // 2)]
        used |= {*chosen}
        if not chosen:
            continue
        mean = [sum(head.inputs[p, d].item() for p in chosen) / len(chosen) for d in range(6)]
        length = sum(x * x for x in mean) ** 0.5
        weights[label] = [
            0.5 * w + 0.5 * x / length for w, x in zip(weights[label], mean, strict=True)
        ]

    def right(rows: list[list[float]]) -> float:
        hits = []
        for place, label in enumerate(labels.tolist()):
            if place in used:
                continue
            logits = [
                sum(w * x for w, x in zip(row, head.inputs[place].tolist(), strict=True)) + b
                for row, b in zip(rows, head.bias.tolist(), strict=True)
            ]
            hits.append(logits.index(max(logits)) == label)
        return 100 * sum(hits) / len(hits)

    values = PrototypeRelearning(shots=shots).measure(with_head(head, labels)).values
    before, after = right(head.weights.tolist()), right(weights)
    assert values["prototype_relearning"] == pytest.approx(after)
    assert values["prototype_regained"] == pytest.approx(after - before)


def test_a_class_whose_features_are_still_there_comes_back() -> None:
    """Features point in their class's direction, but the weights of class 0 are turned around."""
    drawn = torch.Generator().manual_seed(1)
    directions = torch.eye(6)[:3]
    labels = torch.zeros(40, dtype=torch.long)
    inputs = directions[labels] + 0.01 * torch.randn(40, 6, generator=drawn)
    weights = directions * torch.tensor([[-0.5], [1.0], [1.0]])
    measured = PrototypeRelearning().measure(
        with_head(Head(inputs, weights, torch.zeros(3)), labels)
    )
    assert measured.values == {"prototype_relearning": 100.0, "prototype_regained": 100.0}
    noise = Head(torch.randn(40, 6, generator=drawn), weights, torch.zeros(3))
    assert (
        PrototypeRelearning().measure(with_head(noise, labels)).values["prototype_relearning"] < 90
    )


def test_only_forgotten_classes_change() -> None:
    head, labels = random_head(9, 4), torch.tensor([2, 2, 2, 2, 0, 0, 0, 3, 3])
    after = relearned(head, labels, first_of_classes(labels, 5))
    assert torch.equal(after.weights[1], head.weights[1])
    assert not any(torch.equal(after.weights[c], head.weights[c]) for c in (0, 2, 3))


def test_at_most_half_of_a_class_is_shown() -> None:
    labels = torch.tensor([2, 0, 2, 2, 1, 2, 2, 0])
    assert first_of_classes(labels, 5).tolist() == [True, True, True] + [False] * 5
    assert first_of_classes(labels, 1).tolist() == [True, True] + [False] * 6


def test_zero_features_leave_half_the_weights() -> None:
    head, labels = random_head(4, 2), torch.zeros(4, dtype=torch.long)
    empty = replace(head, inputs=torch.zeros(4, 6))
    after = relearned(empty, labels, first_of_classes(labels, 5))
    assert torch.equal(after.weights[0], head.weights[0] / 2)


def test_samples_are_refused() -> None:
    assert PrototypeRelearning.unsupported(FORGET_SETS["classes"]) is None
    assert "forgets samples" in str(PrototypeRelearning.unsupported(FORGET_SETS["samples"]))
    nothing: GivenEvidence = random_evidence({**SIZES, "forget": 0})
    with pytest.raises(DataError, match="forget set of 0 samples"):
        PrototypeRelearning().measure(nothing)
