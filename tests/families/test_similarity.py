"""Unit rows, and their gradients where a row has no direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import Family
from unlearn_ray.families.similarity import crossed_cosines, unit_rows
from unlearn_ray.methods.contrast import push_and_pull
from unlearn_ray.methods.gradient_penalty import length
from unlearn_ray.methods.observation import barlow_twins
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch, tiny


def test_rows_are_torchs_to_the_bit() -> None:
    rows = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    rows[3] *= 1e-9
    found, expected = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    slopes = torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    unit_rows(found).backward(slopes)
    functional.normalize(expected).backward(slopes)
    assert torch.equal(unit_rows(rows), functional.normalize(rows))
    assert torch.equal(cast(Tensor, found.grad), cast(Tensor, expected.grad))


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-13, 1e-30])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_row_without_direction_is_zero_and_gets_no_gradient(
    value: float, dtype: torch.dtype
) -> None:
    rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows[1] = value
    rows.requires_grad_()
    unit = unit_rows(rows)
    assert torch.equal(unit[1], torch.zeros_like(unit[1]))
    loss = (unit @ unit.T / 0.1).logsumexp(dim=1).sum() + unit.sum()
    (first,) = torch.autograd.grad(loss, rows, create_graph=True)
    assert torch.equal(first[1], torch.zeros_like(rows[1]))
    assert first.isfinite().all()
    assert first[0].abs().sum() > 0
    (second,) = torch.autograd.grad(first.square().sum(), rows)
    assert second.isfinite().all()


ZERO = torch.zeros(3, 4, dtype=torch.float64)
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cosines of two views": lambda x: crossed_cosines([x, x], [x, x]).sum(),
    "length": lambda x: length(x).sum(),
    "penalty of a gradient": lambda x: (length(x) - 1).square().sum(),
    "Barlow Twins": lambda x: barlow_twins(x, x, 0.1),
    "Barlow Twins of one row": lambda x: barlow_twins(x[:1], x[:1], 0.1),
    "push and pull": lambda x: push_and_pull(
        torch.eye(3, dtype=torch.bool), unit_rows(x) @ unit_rows(x).T, soft=True
    ),
    "pull alone": lambda x: push_and_pull(
        torch.zeros(3, 3, dtype=torch.bool), unit_rows(x) @ unit_rows(x).T, soft=False
    ),
    "push alone": lambda x: push_and_pull(
        torch.ones(3, 3, dtype=torch.bool), unit_rows(x) @ unit_rows(x).T, soft=True
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_at_zero_are_finite(name: str) -> None:
    rows = ZERO.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](rows), rows, create_graph=True)
    assert gradient.abs().max() <= 1
    if gradient.requires_grad:
        (second,) = torch.autograd.grad(gradient.sum(), rows, allow_unused=True)
        assert second is None or second.isfinite().all()


class Dead(TwoLayerBackbone):
    """Features that are 0 whatever the image is."""

    def forward(self, images: Tensor) -> Tensor:
        return 0 * super().forward(images)


@pytest.mark.parametrize("name", parts(Family))
def test_features_of_zero_train_on(name: str) -> None:
    family = tiny(parts(Family)[name])
    model = family.build(Dead(), 10)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    family.criterion(model, random_batch(6, views=family.views)).backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.abs().max() < 100
