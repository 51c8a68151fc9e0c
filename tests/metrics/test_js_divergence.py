"""JS divergence against loops in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.js_divergence import JSDivergence


def divergence(model: GivenEvidence, retrained: GivenEvidence) -> float:
    measured = JSDivergence().measure(replace(model, reference=retrained))
    return measured.values["js_divergence"]


def entropy(probabilities: list[float]) -> float:
    return -math.fsum(p * math.log2(p) for p in probabilities if p > 0)


def test_it_is_the_mean_of_a_naive_computation() -> None:
    model, retrained = random_evidence(seed=1), random_evidence(seed=2)
    rows = [each.given_probabilities["forget"].double().tolist() for each in (model, retrained)]
    expected = []
    for p, q in zip(*rows, strict=True):
        mixed = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        expected.append(entropy(mixed) - (entropy(p) + entropy(q)) / 2)
    assert divergence(model, retrained) == pytest.approx(math.fsum(expected) / len(expected))


def test_equal_outputs_are_0_and_disjoint_ones_1() -> None:
    def certain(label: int) -> GivenEvidence:
        outputs: Tensor = torch.eye(4)[[label] * SIZES["forget"]]
        return replace(random_evidence(), given_probabilities={"forget": outputs})

    assert divergence(certain(1), certain(1)) == 0.0
    assert divergence(certain(1), certain(2)) == pytest.approx(1.0)


def test_nothing_is_forgotten() -> None:
    with pytest.raises(DataError, match="forget set of 0 samples"):
        JSDivergence().measure(random_evidence({**SIZES, "forget": 0}))
