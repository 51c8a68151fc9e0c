"""Unlearning from a module of one's own, without Ray and without a store: `unlearn_ray.unlearn`.

The engine is that of sweeps (`train.unlearning`), so a method does the same here and there. How
near the result is to a retrained model only a sweep can tell.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.core.precision import round_to_tf32, rounds_to_tf32
from unlearn_ray.data.base import Split
from unlearn_ray.face.own_data import Data, Pixels, Samples, samples_of
from unlearn_ray.face.own_family import (
    AsGiven,
    OwnFamily,
    Removed,
    RemovedClasses,
    freshly_initialised,
    last_layer_of,
)
from unlearn_ray.methods.base import Method
from unlearn_ray.train import unlearning
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

# Images of a forward pass outside of training.
_AT_ONCE = 256
_SETS = ("retain", "forget", "validation")


@dataclass(frozen=True)
class Report:
    """What unlearning did.

    Attributes:
        iterations: updates of the weights.
        compute_seconds: CPU time on a CPU, device time on a GPU.
        loss: the last one; NaN if there was none.
        accuracy: of each set, in percent, before and after.
    """

    iterations: int
    compute_seconds: float
    loss: float
    accuracy: Mapping[str, tuple[float, float]]

    def __str__(self) -> str:
        lines = [f"{self.iterations} iterations, {self.compute_seconds:.2f} compute seconds"]
        lines += [
            f"{name} accuracy: {before:.2f} -> {after:.2f} %"
            for name, (before, after) in self.accuracy.items()
        ]
        return "\n".join(lines)


class Unlearned(NamedTuple):
    """The unlearned copy of a model, and what was done to it."""

    model: nn.Module
    report: Report


def unlearn(
    model: nn.Module,
    method: Method,
    *,
    retain: Data,
    forget: Data,
    validation: Data | None = None,
    test: Data | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    new_model: Callable[[], nn.Module] | None = None,
    seed: int = 0,
) -> Unlearned:
    """Unlearn the forget set from a copy of a classifier, on the device that it is on.

        unlearned, report = unlearn(model, methods.Scrub(epochs=3), retain=kept, forget=removed)

    Images are not augmented: what a dataset gives is what the model sees, read once.

    Args:
        model: maps a batch of images to logits; it is not changed.
        method: with its hyperparameters; any that a sweep's supervised family takes.
        retain, forget: what the model was trained on, apart from each other: datasets that give
            (image, label), or the tensors of all images and labels. An image is a float tensor
            that the model takes, or a uint8 tensor (channels first) or PIL image.
        validation: samples that the model was not trained on, for methods that need them.
        test: likewise, only for the report.
        mean, std: with which pixels in [0, 1] are normalised: float images already are, others
            will be. None if they are not.
        new_model: makes a freshly initialised model, for methods that need one; by default every
            layer of a copy is reset.
        seed: of all random draws.

    Raises:
        BadInput: the method cannot unlearn this set from this model, or lacks something.
        DataError: a dataset cannot be used.
        NonFiniteLoss: a loss or a weight became NaN or infinite.
    """
    pixels = Pixels.of(mean, std)
    given = {"retain": retain, "forget": forget, "validation": validation, "test": test}
    sets = {
        name: samples_of(data, f"the {name} set", pixels)
        for name, data in given.items()
        if data is not None
    }
    _check_shapes(sets)
    _check_pixels(sets, pixels)
    _check_method(method, sets)
    with _own_settings(model) as compute:
        copied = copy.deepcopy(model)
        before = {name: _accuracy(copied, one, compute) for name, one in sets.items()}
        classes = _check_outputs(copied, sets, compute)
        first = sets["retain"].images[:2].to(compute.device)
        augmentation = AsGiven(mean=pixels.mean or (0.0,), std=pixels.std or (1.0,))
        family = OwnFamily(augmentation=augmentation, last_layer=last_layer_of(copied, first))
        forgotten = RemovedClasses() if _whole_classes(sets) else Removed()
        reason = method.unsupported(family, forgotten)
        if reason is not None:
            raise BadInput(f"method {method.name}", reason, "choose another method")
        done = unlearning.unlearn(
            copied,
            family,
            method,
            _resident(sets, classes, compute.device),
            _split(sets),
            seed=stable_seed("unlearn", seed),
            compute=compute,
            make_model=lambda number: _fresh(model, new_model, number),
        )
        after = {name: _accuracy(copied, one, compute) for name, one in sets.items()}
    accuracy = {name: (before[name], after[name]) for name in sets}
    report = Report(done.iterations, done.seconds, done.loss, accuracy)
    return Unlearned(_as_was(copied, model), report)


def _check_shapes(sets: Mapping[str, Samples]) -> None:
    shape = tuple(sets["retain"].images.shape[1:])
    for name, one in sets.items():
        other = tuple(one.images.shape[1:])
        if other != shape:
            raise BadInput(
                f"images of the {name} set of shape {other}",
                f"those of the retain set have the shape {shape}",
                "give all images one size, by a transform",
            )


def _check_pixels(sets: Mapping[str, Samples], pixels: Pixels) -> None:
    if pixels.mean is not None:
        return
    low = min(float(one.images.min()) for one in sets.values())
    high = max(float(one.images.max()) for one in sets.values())
    if low < 0 or high > 1:
        raise BadInput(
            f"images from {low:.3g} to {high:.3g}",
            "beyond [0, 1], so they were normalised, and nobody said how",
            "give the mean= and std= of that, or mean=0, std=1 if they are no pixels",
        )


def _check_method(method: Method, sets: Mapping[str, Samples]) -> None:
    if method.reads_weights:
        raise BadInput(
            f"method {method.name}",
            "its weights are made elsewhere, and nothing is unlearned here",
            "load them yourself",
        )
    for source in method.extra_data():
        if source == "validation" and "validation" not in sets:
            raise BadInput(
                f"method {method.name}",
                "it reads samples that the model was not trained on",
                "give validation=...",
            )
        if not isinstance(source, str):
            raise BadInput(
                f"method {method.name}",
                f"it reads another dataset, {source.name}, as only sweeps can",
                "leave that field out, or run a sweep",
            )


def _whole_classes(sets: Mapping[str, Samples]) -> bool:
    kept, forgotten = (set(sets[name].labels.tolist()) for name in ("retain", "forget"))
    return not kept & forgotten


def _check_outputs(model: nn.Module, sets: Mapping[str, Samples], compute: Compute) -> int:
    """The number of classes that a model tells apart."""
    with torch.no_grad(), in_eval_mode(model):
        logits = model(sets["retain"].images[:2].to(compute.device))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        said = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BadInput(
            f"outputs of the model: {said}",
            "not logits of shape (batch, classes)",
            "wrap the model in a module that returns them",
        )
    classes = logits.shape[1]
    largest = max(int(one.labels.max()) for one in sets.values())
    if largest >= classes:
        raise BadInput(
            f"label {largest}", f"the model has {classes} classes", "number labels from 0 on"
        )
    return classes


def _resident(sets: Mapping[str, Samples], classes: int, device: torch.device) -> ResidentData:
    """The sets one after the other; a `Split` of numbers tells them apart."""
    known = [sets[name] for name in _SETS if name in sets]
    images = torch.cat([one.images for one in known]).to(device)
    labels = torch.cat([one.labels for one in known]).to(device)
    return ResidentData(images, labels, images[:0], labels[:0], classes)


def _split(sets: Mapping[str, Samples]) -> Split:
    ids, begin = {}, 0
    for name in _SETS:
        end = begin + (len(sets[name]) if name in sets else 0)
        ids[name] = np.arange(begin, end)
        begin = end
    return Split(**ids)


@torch.no_grad()
def _accuracy(model: nn.Module, samples: Samples, compute: Compute) -> float:
    compute.place(model, 0)
    correct = 0
    with in_eval_mode(model):
        blocks = (torch.split(one, _AT_ONCE) for one in (samples.images, samples.labels))
        for images, labels in zip(*blocks, strict=True):
            predicted = model(images.to(compute.device)).argmax(dim=-1).cpu()
            correct += int((predicted == labels).sum())
    return 100 * correct / len(samples)


def _fresh(model: nn.Module, new_model: Callable[[], nn.Module] | None, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("initial weights", seed))
        if new_model is not None:
            return new_model()
        return freshly_initialised(copy.deepcopy(model).cpu())


def _as_was(copied: nn.Module, model: nn.Module) -> nn.Module:
    """The copy on the devices and in the modes of the original."""
    pairs = zip(
        chain(copied.parameters(), copied.buffers()),
        chain(model.parameters(), model.buffers()),
        strict=True,
    )
    for own, other in pairs:
        own.data = own.data.to(other.device)
    for one, another in zip(copied.modules(), model.modules(), strict=True):
        one.training = another.training
    return copied


@contextmanager
def _own_settings(model: nn.Module) -> Iterator[Compute]:
    """The model's device; what the engine changes in PyTorch is as it was after the block."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    rounding, tuned = rounds_to_tf32(), torch.backends.cudnn.benchmark
    try:
        on_gpu = any(own.is_cuda for own in model.parameters())
        threads = torch.get_num_threads()
        yield Compute.gpu(threads) if on_gpu else Compute.cpu(threads)
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        round_to_tf32(*rounding)
        torch.backends.cudnn.benchmark = tuned
