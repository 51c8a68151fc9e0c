"""Distances to the retrained model, against loops in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, model_of, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import find
from unlearn_ray.metrics.base import Metric
from unlearn_ray.metrics.layer_wise_distance import LayerWiseDistance
from unlearn_ray.metrics.zrf import ZRF

OF_OUTPUTS = ("activation_distance", "completeness", "zrf")


def measure(name: str, model: GivenEvidence, retrained: GivenEvidence) -> float:
    given = replace(model, reference=retrained, before=retrained)
    return find(Metric, name)().measure(given).values[name]


def forget_rows(*models: GivenEvidence) -> list[list[list[float]]]:
    return [each.given_probabilities["forget"].double().tolist() for each in models]


def certain(label: int) -> GivenEvidence:
    outputs: Tensor = torch.eye(4)[[label] * SIZES["forget"]]
    return replace(random_evidence(), given_probabilities={"forget": outputs})


def test_activation_distance_is_the_mean_of_lengths() -> None:
    model, retrained = random_evidence(seed=1), random_evidence(seed=2)
    lengths = [math.dist(p, q) for p, q in zip(*forget_rows(model, retrained), strict=True)]
    expected = math.fsum(lengths) / len(lengths)
    assert measure("activation_distance", model, retrained) == pytest.approx(expected)
    # The root of the mean square, which SUPREME's code prints, is another number.
    assert expected < math.sqrt(math.fsum(x * x for x in lengths) / len(lengths)) - 1e-3


def test_completeness_counts_equal_predictions() -> None:
    model, retrained = random_evidence(seed=1), random_evidence(seed=2)
    same = [
        p.index(max(p)) == q.index(max(q))
        for p, q in zip(*forget_rows(model, retrained), strict=True)
    ]
    assert 0 < sum(same) < len(same)
    assert measure("completeness", model, retrained) == 100 * sum(same) / len(same)


def test_equal_and_disjoint_outputs() -> None:
    assert measure("activation_distance", certain(1), certain(1)) == 0.0
    assert measure("activation_distance", certain(1), certain(2)) == pytest.approx(math.sqrt(2))
    assert measure("completeness", certain(1), certain(1)) == 100.0
    assert measure("completeness", certain(1), certain(2)) == 0.0


def test_zrf_is_1_less_the_divergence_from_a_random_model() -> None:
    model = random_evidence(seed=1, before=random_evidence(seed=2))
    (own,) = forget_rows(model)
    random = model.random_logits("forget").double().softmax(dim=1).tolist()

    def entropy(row: list[float]) -> float:
        return -math.fsum(p * math.log2(p) for p in row if p > 0)

    divergences = []
    for p, q in zip(own, random, strict=True):
        mixed = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        divergences.append(entropy(mixed) - (entropy(p) + entropy(q)) / 2)
    expected = 1 - math.fsum(divergences) / len(divergences)
    assert ZRF().measure(model).values["zrf"] == pytest.approx(expected, rel=1e-6)
    assert 0 < expected < 1


def test_zrf_of_a_random_model_is_1() -> None:
    model = random_evidence(seed=1, before=random_evidence(seed=2))
    random = {"forget": model.random_logits("forget").softmax(dim=1)}
    values = ZRF().measure(replace(model, given_probabilities=random)).values
    assert values["zrf"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_nothing_is_forgotten(name: str) -> None:
    nothing = random_evidence({**SIZES, "forget": 0})
    with pytest.raises(DataError, match="forget set of 0 samples"):
        measure(name, nothing, nothing)


def test_layer_wise_distance_of_small_layers_is_exact() -> None:
    model, retrained = random_evidence(seed=1), random_evidence(seed=2)
    measured = LayerWiseDistance().measure(replace(model, reference=retrained))
    other = dict(model_of(2).named_parameters())
    squares = {
        name: math.fsum(
            (a - b) ** 2
            for a, b in zip(weights.flatten().tolist(), other[name].flatten().tolist(), strict=True)
        )
        for name, weights in model_of(1).named_parameters()
    }
    assert measured.arrays.keys() == squares.keys()
    for name, square in squares.items():
        assert float(measured.arrays[name]) == pytest.approx(math.sqrt(square))
    total = math.sqrt(math.fsum(squares.values()))
    assert measured.values["layer_wise_distance"] == pytest.approx(total)
    assert LayerWiseDistance().measure(model).values["layer_wise_distance"] == 0.0
