"""Every method unlearns classes and samples from a ResNet and a transformer, or refuses to.

Real images (scikit-learn's digits) and the real engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import split
from unlearn_ray.families.base import Family, Prompts
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit_small import ViTSmall
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Report
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.texts import Texts
from unlearn_ray.train.training import new_model
from unlearn_ray.train.unlearning import unlearn

MODELS: dict[str, Model] = {"resnet": tiny(ResNet8), "vit": tiny(ViTSmall)}
FORGET_SETS: dict[str, ForgetSet] = {"class": Classes(classes=(5,)), "samples": Random(count=12)}
VALIDATION, KEPT = 40, 160
INFO = Digits(image_size=8).info()


def unlearning_checks(method: type[Method]) -> Iterator[Check]:
    """The checks of a method on supervised models."""
    for forget in FORGET_SETS:
        # Where weights come from files, planning refuses those that do not fit.
        for model in {} if method.reads_weights else MODELS:
            yield Check(unlearns_or_says_why_not, method, more=(model, forget))
        if method.idle is not None:
            yield Check(idle_leaves_every_bit, method, more=(forget,))


@cache
def digits() -> ResidentData:
    """Only the first digits, so that a method takes a few seconds."""
    data = Digits(image_size=8).load(cache_folder())
    train, test = slice(VALIDATION + KEPT), slice(8)
    return ResidentData(
        torch.tensor(data.train_images[train]),
        torch.tensor(data.train_labels[train]),
        torch.tensor(data.test_images[test]),
        torch.tensor(data.test_labels[test]),
        num_classes=10,
    )


def digits_for(family: Family) -> ResidentData:
    """The digits, with captions and prompts for a family that reads them."""
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


def unlearns_or_says_why_not(part: type[Method], model: str, forget: str) -> None:
    """The model changes, stays finite and keeps its shapes."""
    reason = part.unsupported(tiny(Supervised), FORGET_SETS[forget])
    if reason is not None:
        assert part.name in reason
        return
    report, before, unlearned = _run(tiny(part), MODELS[model], FORGET_SETS[forget])
    after = unlearned.state_dict()
    assert {name: value.shape for name, value in before.items()} == {
        name: value.shape for name, value in after.items()
    }
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert any(not torch.equal(value, after[key]) for key, value in before.items())
    assert not unlearned.training
    assert report.seconds > 0
    assert math.isfinite(report.loss) or report.iterations == 0


def idle_leaves_every_bit(part: type[Method], forget: str) -> None:
    """With the field values of `idle`, the model does not change."""
    if part.unsupported(tiny(Supervised), FORGET_SETS[forget]) is not None:
        return
    method = tiny(part, **(part.idle or {}))
    report, before, unlearned = _run(method, MODELS["resnet"], FORGET_SETS[forget])
    after = unlearned.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert report.iterations == 0


def _run(
    method: Method, model: Model, forget_set: ForgetSet
) -> tuple[Report, dict[str, Tensor], nn.Module]:
    """Run a method: its report, the original's state and the unlearned model."""
    family, data = tiny(Supervised), digits()

    def make(seed: int) -> nn.Module:
        return new_model(model, family, INFO, seed)

    unlearned = make(1)
    report = unlearn(
        unlearned, family, method, data,
        split(data.train_labels.numpy(), VALIDATION, forget_set, seed=0),
        seed=0, compute=Compute.cpu(), make_model=make,
    )  # fmt: skip
    return report, make(1).state_dict(), unlearned
