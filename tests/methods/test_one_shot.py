"""What all one-shot edits owe, and the solver that two of them use."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from tests.methods.problem import CLASS, RANDOM, original, run
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import Split
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.methods.shared import OneShot, conjugate_gradients
from unlearn_ray.testing.toy import tiny

METHODS = [method for method in parts(Method).values() if issubclass(method, OneShot)]
IDLE = [method(**method.idle) for method in METHODS if method.idle is not None]
QUICK = [tiny(method) for method in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_of_a_recipe_only_the_batch_size_is_a_field(method: type[OneShot]) -> None:
    of_recipe = {field.name for field in fields(Recipe)}
    assert of_recipe & {field.name for field in fields(method)} == {"batch_size"}
    with pytest.raises(ValueError, match="epochs"):
        method(epochs=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_classifiers(method: type[OneShot]) -> None:
    assert method.unsupported(Supervised(), Random()) is None
    assert method.unsupported(SimCLR(), Random()) == (
        f"{method.name} needs a classifier; simclr has none"
    )


@pytest.mark.parametrize("method", IDLE, ids=lambda method: method.name)
@pytest.mark.parametrize("split", [CLASS, RANDOM], ids=["class", "random"])
def test_without_strength_every_bit_stays(method: OneShot, split: Split) -> None:
    outcome = run(method, split)
    assert outcome.same_as(original())
    assert outcome.report.iterations == 0


@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.name)
def test_edits_are_repeatable_and_leave_no_gradients(method: OneShot) -> None:
    once, again = run(method, CLASS), run(method, CLASS)
    assert once.same_as(again.model)
    assert not once.same_as(original())
    weights = list(once.model.parameters())
    assert all(weight.grad is None and weight.requires_grad for weight in weights)
    assert not once.model.training


def symmetric(size: int, least: float) -> Tensor:
    """With eigenvalues from `least` to 3."""
    noise = torch.Generator().manual_seed(size)
    square = torch.randn(size, size, generator=noise, dtype=torch.float64)
    basis = torch.linalg.qr(square).Q
    return basis @ torch.diag(torch.linspace(least, 3, size, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_conjugate_gradients_solve(size: int) -> None:
    matrix = symmetric(size, 0.1)
    vector = torch.arange(1, size + 1, dtype=torch.float64)
    found = conjugate_gradients(lambda v: matrix @ v, vector, iterations=3 * size, tolerance=1e-12)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, vector))


def test_conjugate_gradients_end_where_they_are_told_to() -> None:
    matrix, asked = symmetric(20, 0.1), []

    def product(vector: Tensor) -> Tensor:
        asked.append(vector)
        return matrix @ vector

    vector = torch.ones(20, dtype=torch.float64)
    conjugate_gradients(product, vector, iterations=4, tolerance=0)
    assert len(asked) == 4
    rough = conjugate_gradients(product, vector, iterations=100, tolerance=0.1)
    assert len(asked) < 4 + 20
    assert (matrix @ rough - vector).norm() <= 0.1 * vector.norm()
    nothing = conjugate_gradients(product, torch.zeros(20, dtype=torch.float64), iterations=9)
    assert not nothing.any()


def test_conjugate_gradients_stop_where_the_matrix_is_not_positive() -> None:
    matrix = symmetric(9, -2)
    # Along the sum of the eigenvectors it is positive, as is the sum of the eigenvalues.
    vector = torch.linalg.eigh(matrix).eigenvectors.sum(dim=1)
    found = conjugate_gradients(lambda v: matrix @ v, vector, iterations=50)
    assert found.isfinite().all()
    # What it has is the least of the quadratic form so far, which began at 0.
    assert 0.5 * found @ matrix @ found - vector @ found < 0
    assert not conjugate_gradients(lambda v: -v, vector, iterations=50).any()
