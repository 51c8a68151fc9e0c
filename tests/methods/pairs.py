"""Digits with captions that a small CLIP learns by heart, and unlearning with the real engine."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.augmentation import Augmentation, normalise
from unlearn_ray.data.base import ImageData, Split
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.families.clip import CLIP, MEAN, STD
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Report
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.samples import TaskSamples
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

COUNT, TRAINED_ON, SEED, FORGOTTEN = 260, 200, 1, 3
COMPUTE = Compute.cpu()
FAMILY = CLIP(
    embedding_size=32, context_length=24, text_width=32, text_heads=2, text_layers=1,
    augmentation=Augmentation(mean=MEAN, std=STD),
)  # fmt: skip
DIGITS = CaptionedDigits(image_size=8)
RECIPE: dict[str, Any] = {"optimizer": "adamw", "batch_size": 32, "weight_decay": 0.01}


class Layers(nn.Module):
    """A layer and another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3 * 8 * 8, 128), nn.Linear(128, 32)
        self.feature_size = 32

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1).to(self.first.weight.dtype)
        return self.second(torch.relu(self.first(flat)))


@cache
def images() -> ImageData:
    """The first digits alone."""
    every = DIGITS.load(cache_folder())
    return ImageData(
        every.train_images[:COUNT],
        every.train_labels[:COUNT],
        every.test_images[:4],
        every.test_labels[:4],
        every.train_captions[:COUNT],
        every.test_captions[:4],
    )


@cache
def data() -> ResidentData:
    return ResidentData.load(images(), 10, FAMILY, COMPUTE.device, DIGITS.prompts())


def split(kind: str) -> Split:
    """All samples of a class, or a fifth of all."""
    if kind == "class":
        forget = images().train_labels[:TRAINED_ON] == FORGOTTEN
    else:
        forget = np.random.RandomState(SEED).rand(TRAINED_ON) < 0.2
    return Split(
        validation=np.arange(TRAINED_ON, COUNT),
        forget=np.flatnonzero(forget),
        retain=np.flatnonzero(~forget),
    )


def new_model(seed: int = SEED) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILY.build(Layers(), 10)


@cache
def _trained(on: tuple[int, ...]) -> nn.Module:
    model = new_model()
    recipe = Recipe(epochs=50, learning_rate=2e-3, **RECIPE)
    train_from_scratch(model, FAMILY, recipe, data(), np.array(on), seed=SEED, compute=COMPUTE)
    return model.eval()


def original() -> nn.Module:
    """Trained on forget and retain set; a fresh copy."""
    return copy.deepcopy(_trained(tuple(range(TRAINED_ON))))


def retrained(kind: str) -> nn.Module:
    """Trained on the retain set alone."""
    return copy.deepcopy(_trained(tuple(split(kind).retain.tolist())))


def task_of(kind: str) -> Task:
    samples = TaskSamples(
        data(), split(kind), augmentation=FAMILY.augmentation, seed=SEED, make_model=new_model
    )
    return Task(FAMILY, samples)


def run(method: Method, kind: str, model: nn.Module) -> Report:
    """Unlearn, in place."""
    return unlearn(
        model, FAMILY, method, data(), split(kind), seed=SEED, compute=COMPUTE,
        make_model=lambda seed: new_model(seed).to(next(model.parameters()).dtype),
    )  # fmt: skip


@torch.no_grad()
def similarity(model: nn.Module, ids: np.ndarray) -> float:
    """Mean cosine of images with their captions, all five of each."""
    texts, shown = data().train_texts, normalise(data().train_images[ids], MEAN, STD)
    assert texts is not None
    embedded = FAMILY.embed_images(model.eval(), shown)
    cosines = [
        (embedded * FAMILY.embed_texts(model, texts.tokens[texts.rows[places]].long())).sum(dim=1)
        for places in (texts.begins[ids] + number for number in range(5))
    ]
    return float(torch.stack(cosines).mean())


def zero_shot(model: nn.Module, ids: np.ndarray) -> float:
    """Share of images told by the nearest mean embedding of a class's prompts."""
    told = _scores(model, ids).argmax(dim=1)
    return float((told == data().train_labels[ids]).float().mean())


def loss(model: nn.Module, ids: np.ndarray) -> float:
    """Mean cross-entropy of cosines with these embeddings."""
    return float(functional.cross_entropy(_scores(model, ids), data().train_labels[ids]))


@torch.no_grad()
def _scores(model: nn.Module, ids: np.ndarray) -> Tensor:
    scores = FAMILY.class_scores(model.eval(), task_of("class").samples.prompts)
    return scores(normalise(data().train_images[ids], MEAN, STD))
