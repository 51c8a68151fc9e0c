"""Checks of every model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unlearn_ray.models.base import Model
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny


def model_checks(model: type[Model]) -> Iterator[Check]:
    """The checks of a model, on images of 32 pixels."""
    for check in (gives_features, can_be_trained, is_determined_by_the_global_generator):
        yield Check(check, model)


def gives_features(model: type[Model]) -> None:
    """Features have the dimension `feature_size`."""
    torch.manual_seed(0)
    backbone = tiny(model).build(32)
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, backbone.feature_size)
    assert torch.isfinite(features).all()


def can_be_trained(model: type[Model]) -> None:
    """Gradients are finite, and some weight has one."""
    torch.manual_seed(0)
    backbone = tiny(model).build(32).train()
    torch.autograd.backward(backbone(torch.randn(4, 3, 32, 32)).square().sum())
    gradients = [weight.grad for weight in backbone.parameters() if weight.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)


def is_determined_by_the_global_generator(model: type[Model]) -> None:
    """The same seed gives the same weights."""

    def build() -> dict[str, Tensor]:
        torch.manual_seed(7)
        return tiny(model).build(32).state_dict()

    first, again = build(), build()
    assert all(torch.equal(first[key], again[key]) for key in first)
