"""Models of other libraries, trained by a loop of their own on the digits and saved to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.data.base import ImageData
from unlearn_ray.data.datasets.digits import Digits

# isort: split
import timm
from torchvision.models import resnet18

__all__ = ["SIZE", "Theirs", "digits", "logits", "pixels", "resnet18", "saved", "timm", "train"]

SIZE = 32


@cache
def digits(size: int = SIZE) -> ImageData:
    """The images that a sweep sees, too."""
    return Digits(image_size=size).load(cache_folder())


def pixels(images: Any) -> Tensor:
    """As this code normalises them: from -1 to 1."""
    return (torch.tensor(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


@dataclass(frozen=True)
class Theirs:
    """A trained classifier.

    Attributes:
        accuracy: on the test set, as a share.
    """

    model: nn.Module
    accuracy: float


@torch.no_grad()
def logits(model: nn.Module, images: Any) -> Tensor:
    return torch.cat([model.eval()(block) for block in pixels(images).split(256)])


def train(
    make: Callable[[], nn.Module],
    *,
    iterations: int = 12,
    batch: int = 64,
    seed: int = 0,
    keep: Callable[[int], bool] = lambda _: True,
    size: int = SIZE,
) -> Theirs:
    """Adam on random batches of those training images whose index `keep` accepts."""
    data = digits(size)
    torch.manual_seed(seed)
    model = make().train()
    chosen = torch.tensor([number for number in range(len(data.train_labels)) if keep(number)])
    labels = torch.tensor(data.train_labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(iterations):
        rows = chosen[torch.randint(len(chosen), (batch,))]
        loss = functional.cross_entropy(model(pixels(data.train_images[rows])), labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    right = logits(model, data.test_images).argmax(dim=1) == torch.tensor(data.test_labels)
    return Theirs(model.eval(), float(right.float().mean()))


def saved(state: Mapping[str, Tensor], path: Path, prefix: str = "", **metadata: str) -> Path:
    """A state dict in a file, as safetensors or as a training script saves it."""
    named = {f"{prefix}{name}": value.contiguous() for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(named, path, metadata=metadata or None)
    else:
        torch.save({"epoch": 3, "state_dict": named, "lr": [0.1, 0.01]}, path)
    return path
