"""Every method unlearns classes and samples from a ResNet and a transformer, or says why not.

Real images (scikit-learn's digits), the real engine; a new method is tested unasked.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.cache import cache_folder
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import split
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.loop import Report
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.training import new_model
from unlearn_ray.engine.unlearning import unlearn
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit_small import ViTSmall

FAMILY = Supervised(embedding_size=8)
MODELS: dict[str, Model] = {
    "resnet": ResNet8(width=4),
    "vit": ViTSmall(patch=4, layers=1, heads=2, width=8),
}
FORGET_SETS: dict[str, ForgetSet] = {"class": Classes(classes=(5,)), "samples": Random(count=12)}
VALIDATION, KEPT = 40, 160

# What each costs at its defaults is for large models; these keep its every part.
SMALLER: dict[str, dict[str, Any]] = {
    "fisher": {"samples": 8},
    "influence": {"samples": 16, "iterations": 3},
    "lcodec": {
        "removals": 1, "images": 2, "perturbations": 12, "rows": 2, "samples": 8, "iterations": 3,
        "largest_drop": 1,
    },
    # Above 1 / the forget set's share no weight is dampened.
    "ssd": {"alpha": 1.0},
    "unsir": {"noise_size": 8, "noise_batches": 1, "noise_steps": 2},
}  # fmt: skip
ONE_SHOT = {"fisher", "influence", "lcodec", "ssd"}


@cache
def digits() -> ResidentData:
    """The first digits alone: a few seconds a method."""
    data = Digits(image_size=8).load(cache_folder())
    return ResidentData(
        *(
            torch.tensor(np.asarray(array[:count]))
            for array, count in (
                (data.train_images, VALIDATION + KEPT),
                (data.train_labels, VALIDATION + KEPT),
                (data.test_images, 8),
                (data.test_labels, 8),
            )
        ),
        num_classes=10,
    )


def run(method: Method, model: Model, forget_set: ForgetSet) -> tuple[Report, nn.Module, nn.Module]:
    """What a method did, the original and the unlearned model."""
    data, info = digits(), Digits(image_size=8).info()

    def make(seed: int) -> nn.Module:
        return new_model(model, FAMILY, info, seed)

    parts_of_data = split(data.train_labels.numpy(), VALIDATION, forget_set, seed=0)
    original, unlearned = make(1).eval(), make(1)
    report = unlearn(
        unlearned, FAMILY, method, data, parts_of_data, seed=0, compute=Compute.detect(),
        make_model=make,
    )  # fmt: skip
    return report, original, unlearned


@pytest.mark.parametrize("forget", FORGET_SETS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", parts(Method))
def test_method_on_model(name: str, model: str, forget: str) -> None:
    part, forget_set = find(Method, name), FORGET_SETS[forget]
    reason = part.unsupported(FAMILY, forget_set)
    if reason is not None:
        assert name in reason
        return
    quick = {} if name in ONE_SHOT else {"epochs": 1, "batch_size": 32}
    method = part(**quick, **SMALLER.get(name, {}))
    report, original, unlearned = run(method, MODELS[model], forget_set)
    before, after = original.state_dict(), unlearned.state_dict()
    assert shapes(before) == shapes(after)
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert any(not torch.equal(value, after[key]) for key, value in before.items())
    assert not unlearned.training
    assert report.seconds > 0
    assert (report.iterations == 0) == (name in ONE_SHOT)
    assert math.isfinite(report.loss) or name in ONE_SHOT


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
