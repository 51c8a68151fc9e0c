"""No method moves the pruned weights of a sparse model.

The real engine on a ResNet with 60 % zeros, with momentum and weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from unlearn_ray.data.splits import split
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.digits import FORGET_SETS, INFO, MODELS, VALIDATION, digits_for
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train import unlearning
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.sparsity import Masks, apply_masks, magnitude_masks
from unlearn_ray.train.training import new_model


def sparsity_checks(method: type[Method], family: type[Family]) -> Iterator[Check]:
    """The checks of a method on a family that it supports; none if its weights are made elsewhere.

    Planning refuses these for sparse models, whose masks other code does not know.
    """
    if method.reads_weights:
        return
    for forget, forget_set in FORGET_SETS.items():
        if method.unsupported(tiny(family), forget_set) is None:
            yield Check(pruned_weights_stay_zero, method, family, more=(forget,))


def pruned_weights_stay_zero(method: type[Method], family: type[Family], forget: str) -> None:
    """Pruned weights stay zero, and others change."""
    assert keeps_zeros(tiny(method), tiny(family), forget)


def keeps_zeros(method: Method, family: Family, forget: str) -> bool:
    """Run a method on a sparse model; returns whether pruned weights were zero throughout."""
    data, model, original = digits_for(family), _sparse_model(family), _sparse_model(family)
    held = []

    def look(module: nn.Module, _: object) -> None:
        if module is model.backbone and module.training:
            held.append(_zeros_hold(model))

    assert isinstance(model.backbone, nn.Module)
    model.backbone.register_forward_pre_hook(look)
    unlearning.unlearn(
        model, family, method, data,
        split(data.train_labels.numpy(), VALIDATION, FORGET_SETS[forget], seed=0),
        seed=0, compute=Compute.cpu(),
        make_model=lambda seed: new_model(MODELS["resnet"], family, INFO, seed, sparse=True),
    )  # fmt: skip
    before, after = original.state_dict(), model.state_dict()
    assert list(before) == list(after)
    for name in before:
        assert before[name].shape == after[name].shape
        if name.startswith("sparsity."):
            assert torch.equal(before[name], after[name])
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return all(held) and _zeros_hold(model)


def _sparse_model(family: Family) -> nn.Module:
    model = new_model(MODELS["resnet"], family, INFO, 1, sparse=True)
    assert isinstance(model.sparsity, Masks)
    model.sparsity.set(magnitude_masks(model, 0.6))
    apply_masks(model)
    return model


def _zeros_hold(model: nn.Module) -> bool:
    """Whether pruned weights of the backbone and its momentum copies are zero."""
    assert isinstance(model.sparsity, Masks)
    masks = model.sparsity.by_parameter()
    assert sum(int((~kept).sum()) for kept in masks.values()) > 1000
    return all(
        bool((weight[~masks[name]] == 0).all())
        for whole, weight in model.named_parameters()
        if (name := whole.partition("backbone.")[2]) in masks
    )
