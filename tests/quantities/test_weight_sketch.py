"""Projected weights: unbiased squared distances, with the stated error."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.metrics.evidence import model_of, random_evidence
from unlearn_ray.quantities.weight_sketch import SIZE, WeightSketch, sketch


def weights(size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_small_tensors_are_kept() -> None:
    small = weights(SIZE, 0).reshape(64, 64)
    assert torch.equal(sketch(small, "it"), small.flatten())


def test_a_bucket_holds_a_signed_sum() -> None:
    """Linear in the weights, and every weight is in one bucket."""
    size = SIZE + 500
    one, other = weights(size, 0), weights(size, 1)
    together = sketch(2 * one - other, "it")
    torch.testing.assert_close(together, 2 * sketch(one, "it") - sketch(other, "it"))
    for place in (0, 17, size - 1):
        alone = torch.zeros(size, dtype=torch.float64)
        alone[place] = 3.0
        held = sketch(alone, "it")
        assert held.shape == (SIZE,)
        assert held.abs().sort(descending=True).values[:2].tolist() == [3.0, 0.0]
    assert not torch.equal(sketch(one, "it"), sketch(one, "another"))
    assert torch.equal(sketch(one, "it"), sketch(one, "it"))


def test_squared_distances_are_unbiased_with_the_stated_error() -> None:
    """Over many projections: mean 1 and deviation sqrt(2 / SIZE) of the true square."""
    projections = 200
    for drawn in (weights(20_000, 0), torch.ones(20_000), weights(20_000, 1) ** 3):
        true = float(drawn.double().square().sum())
        ratios = torch.tensor(
            [float(sketch(drawn, f"{n}").square().sum()) / true for n in range(projections)]
        )
        stated = (2 / SIZE) ** 0.5
        assert abs(float(ratios.mean()) - 1) < 4 * stated / projections**0.5
        assert 0.7 * stated < float(ratios.std()) < 1.2 * stated
        distances = ratios.sqrt()
        assert float(distances.std()) < 1.2 * 0.0111


def test_what_is_trained_is_sketched_by_name() -> None:
    observed = WeightSketch().observe(random_evidence(seed=3)).arrays
    model = model_of(3)
    assert {name: len(array) for name, array in observed.items()} == {
        name: weights.numel() for name, weights in model.named_parameters()
    }
