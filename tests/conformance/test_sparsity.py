"""No method moves the pruned weights of a sparse model, new ones unasked.

The real engine on a ResNet with 60 % zeros, with momentum and weight decay.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.conformance.test_unlearning import (
    FORGET_SETS,
    MODELS,
    ONE_SHOT,
    SMALLER,
    VALIDATION,
    digits,
)
from tests.toy import small_family
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.cache import cache_folder
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.splits import split
from unlearn_ray.engine import unlearning
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.sparsity import Masks, apply_masks, magnitude_masks
from unlearn_ray.engine.texts import Texts
from unlearn_ray.engine.training import new_model
from unlearn_ray.families.base import Family, Prompts
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method

MODEL = MODELS["resnet"]
INFO = Digits(image_size=8).info()


def sparse_model(family: Family) -> nn.Module:
    model = new_model(MODEL, family, INFO, 1, sparse=True)
    assert isinstance(model.sparsity, Masks)
    model.sparsity.set(magnitude_masks(model, 0.6))
    apply_masks(model)
    return model


def zeros_hold(model: nn.Module) -> bool:
    """Of the backbone and its momentum copies, by the names of their parameters."""
    masks = model.sparsity.by_parameter()
    assert sum(int((~kept).sum()) for kept in masks.values()) > 1000
    return all(
        bool((weight[~masks[name]] == 0).all())
        for whole, weight in model.named_parameters()
        if (name := whole.partition("backbone.")[2]) in masks
    )


def read_by(family: Family) -> ResidentData:
    """The digits, with their captions and prompts for a family that reads some."""
    data = digits()
    if not family.reads_captions:
        return data
    captioned, cpu = CaptionedDigits(image_size=8), torch.device("cpu")
    captions = captioned.load(cache_folder()).train_captions[: data.train_labels.shape[0]]
    return replace(
        data,
        train_texts=Texts.load(captions, family, cpu),
        prompts=Prompts.load(captioned.prompts(), family, cpu),
    )


def unlearned(method: Method, family: Family, forget: str) -> bool:
    """Run a method on a sparse model; whether pruned weights were zero all along."""
    data, model, original = read_by(family), sparse_model(family), sparse_model(family)
    held = []

    def look(module: nn.Module, _: object) -> None:
        if module is model.backbone and module.training:
            held.append(zeros_hold(model))

    model.backbone.register_forward_pre_hook(look)
    unlearning.unlearn(
        model, family, method, data,
        split(data.train_labels.numpy(), VALIDATION, FORGET_SETS[forget], seed=0),
        seed=0, compute=Compute.detect(),
        make_model=lambda seed: new_model(MODEL, family, INFO, seed, sparse=True),
    )  # fmt: skip
    before, after = original.state_dict(), model.state_dict()
    assert list(before) == list(after)
    for name in before:
        assert before[name].shape == after[name].shape
        if name.startswith("sparsity."):
            assert torch.equal(before[name], after[name])
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return all(held) and zeros_hold(model)


def quick(name: str) -> Method:
    """With momentum and weight decay; what edits once has neither."""
    decay = {"momentum": 0.9, "weight_decay": 0.01, "epochs": 1, "batch_size": 32}
    return find(Method, name)(**({} if name in ONE_SHOT else decay), **SMALLER.get(name, {}))


def supported(name: str, family: Family, forget: str) -> bool:
    return find(Method, name).unsupported(family, FORGET_SETS[forget]) is None


@pytest.mark.parametrize("forget", FORGET_SETS)
@pytest.mark.parametrize("family", parts(Family))
@pytest.mark.parametrize("name", parts(Method))
def test_pruned_weights_stay_zero(name: str, family: str, forget: str) -> None:
    criterion = small_family(family)
    if supported(name, criterion, forget):
        assert unlearned(quick(name), criterion, forget)


@pytest.mark.parametrize(
    ("name", "part"), [("finetune", "keeper"), ("salun", "keeper"), ("fisher", "apply_masks")]
)
def test_without_masking_they_would_not(
    name: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlearning, part, lambda _: None)
    assert not unlearned(quick(name), Supervised(), "class")
