"""A small problem that a model learns by heart, and unlearning on it with the real engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.restarts import Kept
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.base import Split
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Progress, Report
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.samples import TaskSamples
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

CLASSES, COUNT, SEED = 4, 240, 5
FAMILY = Supervised(embedding_size=8)
COMPUTE = Compute.cpu()
LABELS = np.arange(COUNT) % CLASSES
VALIDATION = np.arange(160, COUNT)

# 40 of 160 samples of all classes; all samples of class 1.
RANDOM = Split(validation=VALIDATION, forget=np.arange(40), retain=np.arange(40, 160))
CLASS = Split(
    validation=VALIDATION,
    forget=np.flatnonzero(LABELS[:160] == 1),
    retain=np.flatnonzero(LABELS[:160] != 1),
)


class Memory(nn.Module):
    """A layer, batch norm and another layer: large enough to learn 160 noisy images by heart."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 6 * 6, 64, bias=False)
        self.bn = nn.BatchNorm1d(64)
        self.second = nn.Linear(64, 16)
        self.feature_size = 16

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1).to(self.first.weight.dtype)
        return self.second(torch.relu(self.bn(self.first(flat))))


@cache
def data() -> ResidentData:
    """Each class has a pattern, under so much noise that unseen images are often missed.

    Patterns are orthogonal: no class is harder to tell, or to forget, than another.
    """
    noise = torch.Generator().manual_seed(0)
    drawn = torch.randn(6 * 6 * 3, CLASSES, generator=noise, dtype=torch.float64)
    patterns = torch.linalg.qr(drawn).Q.T.reshape(CLASSES, 6, 6, 3) * (6 * 6 * 3) ** 0.5
    labels = torch.from_numpy(LABELS)
    shown = patterns[labels] + 3 * torch.randn(COUNT, 6, 6, 3, generator=noise)
    pixels = (128 + 20 * shown).clamp(0, 255).to(torch.uint8)
    return ResidentData(pixels, labels, pixels, labels, CLASSES)


def new_model(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILY.build(Memory(), CLASSES)


@cache
def _original() -> nn.Module:
    model = new_model(SEED)
    recipe = Recipe(epochs=30, batch_size=32, learning_rate=0.1)
    train_from_scratch(
        model, FAMILY, recipe, data(), np.arange(160), seed=SEED, compute=COMPUTE
    )  # fmt: skip
    return model.eval()


def original() -> nn.Module:
    """Trained on forget and retain set; a fresh copy."""
    return copy.deepcopy(_original())


def task_of(split: Split) -> Task:
    samples = TaskSamples(
        data(), split, augmentation=FAMILY.augmentation, seed=SEED, make_model=new_model
    )
    return Task(FAMILY, samples)


@dataclass
class Outcome:
    """What unlearning left."""

    model: nn.Module
    report: Report
    weights: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = self.model.state_dict()

    def accuracy(self, ids: np.ndarray) -> float:
        return accuracy(self.model, ids)

    def grown(self, ids: np.ndarray) -> float:
        """How many times as large the loss has become."""
        return loss(self.model, ids) / loss(original(), ids)

    def same_as(self, other: nn.Module) -> bool:
        theirs = other.state_dict()
        return all(torch.equal(value, theirs[name]) for name, value in self.weights.items())


def run(
    method: Method,
    split: Split,
    checkpoints: Kept | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
) -> Outcome:
    """Unlearn from the original."""
    model = original()
    report = unlearn(
        model, FAMILY, method, data(), split, seed=SEED, compute=COMPUTE,
        make_model=new_model, checkpoints=checkpoints, on_progress=on_progress,
    )  # fmt: skip
    return Outcome(model, report)


def accuracy(model: nn.Module, ids: np.ndarray) -> float:
    return float((logits(model, ids).argmax(dim=1) == data().train_labels[ids]).float().mean())


def loss(model: nn.Module, ids: np.ndarray) -> float:
    """Mean cross-entropy: unlike accuracy, it moves with every update."""
    return float(functional.cross_entropy(logits(model, ids), data().train_labels[ids]))


@torch.no_grad()
def logits(model: nn.Module, ids: np.ndarray) -> Tensor:
    images = normalise(data().train_images[ids], FAMILY.augmentation.mean, FAMILY.augmentation.std)
    return model.eval()(images)
