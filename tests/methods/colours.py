"""A tiny classifier that has learned the colour of noisy images, and what unlearning does to it."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from torch import nn

from tests.toy import TwoLayerBackbone
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.base import Split
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.samples import TaskSamples
from unlearn_ray.engine.training import train_from_scratch
from unlearn_ray.engine.unlearning import unlearn
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method

CLASSES, COUNT, VALIDATION, SIZE = 4, 240, 40, 6
COMPUTE = Compute.detect()
FAMILY = Supervised()
COLOURS = torch.tensor([[200, 80, 80], [80, 200, 80], [80, 80, 200], [190, 190, 60]])


def data() -> ResidentData:
    noise = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % CLASSES
    shape = (COUNT, SIZE, SIZE, 3)
    pixels = COLOURS[labels][:, None, None] + 50 * torch.randn(shape, generator=noise)
    images = pixels.clamp(0, 255).to(torch.uint8)
    return ResidentData(images, labels, images, labels, CLASSES)


def split(*, whole_class: bool) -> Split:
    """Forget class 0, or every tenth sample."""
    ids = np.arange(VALIDATION, COUNT)
    forgotten = ids % CLASSES == 0 if whole_class else ids % 10 == 0
    return Split(np.arange(VALIDATION), forget=ids[forgotten], retain=ids[~forgotten])


def new_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILY.build(TwoLayerBackbone(channels=8, feature_size=8), CLASSES)


@cache
def _original() -> nn.Module:
    model = new_model()
    recipe = Recipe(epochs=20, batch_size=20, learning_rate=0.05)
    trained_on = np.arange(VALIDATION, COUNT)
    train_from_scratch(model, FAMILY, recipe, data(), trained_on, seed=0, compute=COMPUTE)
    return model


def original() -> nn.Module:
    """Trained on all but the validation set, in eval mode."""
    return copy.deepcopy(_original())


def samples(*, whole_class: bool) -> TaskSamples:
    return TaskSamples(
        data(), split(whole_class=whole_class),
        augmentation=FAMILY.augmentation, seed=0, make_model=new_model,
    )  # fmt: skip


def unlearned(method: Method, *, whole_class: bool = True) -> nn.Module:
    """The original after a method."""
    model = original()
    unlearn(
        model, FAMILY, method, data(), split(whole_class=whole_class),
        seed=0, compute=COMPUTE, make_model=new_model,
    )  # fmt: skip
    return model


@torch.no_grad()
def accuracies(model: nn.Module, *, whole_class: bool = True) -> tuple[float, float]:
    """Of the forget and of the retain set."""

    def accuracy(part: str) -> float:
        blocks = samples(whole_class=whole_class).blocks(part)
        right = [model(images).argmax(dim=1) == labels for images, labels in blocks]
        return float(torch.cat(right).float().mean())

    return accuracy("forget"), accuracy("retain")


def same_bits(one: nn.Module, other: nn.Module) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return list(weights) == list(others) and all(
        weights[name].contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes()
        for name, value in others.items()
    )
