"""Influence unlearning against dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.methods.exact import flat, gradients, small_model, small_task
from tests.methods.problem import CLASS, run
from unlearn_ray.methods.influence import Influence, fisher_product, published_product

RETAIN, FORGET, SAMPLES = 12, 5, 8


def removed(model: torch.nn.Module) -> Tensor:
    task = small_task(RETAIN, FORGET)
    total = torch.zeros_like(flat(model))
    for gradient in gradients(model, task, "forget"):
        total += gradient / (RETAIN + FORGET)
    for gradient in gradients(model, task, "retain"):
        total -= FORGET / ((RETAIN + FORGET) * RETAIN) * gradient
    return total


def dense_fisher(model: torch.nn.Module, samples: int) -> Tensor:
    found = gradients(model, small_task(RETAIN, FORGET), "retain")[:samples]
    total = sum(torch.outer(gradient, gradient) for gradient in found)
    assert isinstance(total, Tensor)
    return total / len(found)


@pytest.mark.parametrize("batch_size", [3, 256])
def test_what_is_removed(batch_size: int) -> None:
    model = small_model()
    found = Influence(batch_size=batch_size).removed(model, small_task(RETAIN, FORGET))
    torch.testing.assert_close(found, removed(model))


@pytest.mark.parametrize("size", [3, 256])
@pytest.mark.parametrize("limit", [SAMPLES, 100])
def test_fisher_product_is_the_dense_matrix(limit: int, size: int) -> None:
    model, task = small_model(), small_task(RETAIN, FORGET)
    columns = [
        fisher_product(model, task.samples, limit, size, unit)
        for unit in torch.eye(len(flat(model)), dtype=torch.float64)
    ]
    torch.testing.assert_close(torch.stack(columns, dim=1), dense_fisher(model, limit))


def woodfisher(found: list[Tensor], damping: float, samples: int) -> Tensor:
    """(damping * I + F)^-1, one sample after the other by Sherman and Morrison's formula."""
    inverse = torch.eye(len(found[0]), dtype=torch.float64) / damping
    for gradient in found[:samples]:
        column = inverse @ gradient
        inverse -= torch.outer(column, column) / (samples + gradient @ column)
    return inverse


@pytest.mark.parametrize("damping", [1.0, 0.01])
def test_step_is_woodfishers(damping: float) -> None:
    model, task = small_model(), small_task(RETAIN, FORGET)
    inverse = woodfisher(gradients(model, task, "retain"), damping, SAMPLES)
    identity = torch.eye(len(inverse), dtype=torch.float64)
    dense = torch.linalg.inv(damping * identity + dense_fisher(model, SAMPLES))
    torch.testing.assert_close(inverse, dense)
    expected = flat(model) + 3 * inverse @ removed(model)
    Influence(alpha=3, samples=SAMPLES, damping=damping).finish(model, task)
    torch.testing.assert_close(flat(model), expected, rtol=1e-4, atol=1e-4)
    assert (flat(model) - flat(small_model())).norm() > 0.1


def published(found: list[Tensor], vector: list[float], count: int) -> list[float]:
    first, *rest = (gradient.tolist() for gradient in found[:count])
    o, k = list(first), list(vector)
    for g in rest:
        og = sum(a * b for a, b in zip(o, g, strict=True))
        kg = sum(a * b for a, b in zip(k, g, strict=True))
        k = [a - kg / (count + og) * b for a, b in zip(k, o, strict=True)]
        o = [a - og / (count + og) * a for a in o]
    return k


def test_published_recursion() -> None:
    model, task = small_model(), small_task(RETAIN, FORGET)
    vector = removed(model)
    found = gradients(model, task, "retain")
    expected = published(found, vector.tolist(), SAMPLES)
    product = published_product(model, task.samples, vector, SAMPLES)
    assert product.tolist() == pytest.approx(expected)
    # It follows one direction alone, and so is not the inverse.
    moved = product - vector
    cosine = moved @ found[0] / (moved.norm() * found[0].norm())
    assert abs(float(cosine)) == pytest.approx(1)
    exact = woodfisher(found, 1.0, SAMPLES) @ vector
    assert (product - exact).norm() > 0.01 * exact.norm()
    before = flat(model)
    Influence(alpha=2, samples=SAMPLES, inverse="published").finish(model, task)
    torch.testing.assert_close(flat(model), before + 2 * product)


@pytest.mark.parametrize("inverse", ["exact", "published"])
def test_a_class_is_forgotten(inverse: str) -> None:
    outcome = run(Influence(alpha=30, inverse=inverse), CLASS)
    assert outcome.grown(CLASS.forget) > max(1.0, outcome.grown(CLASS.retain))
    assert outcome.accuracy(CLASS.retain) > 0.8
