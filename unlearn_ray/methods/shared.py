"""What several methods need: frozen copies, divergences, accuracies, sums of gradients, recipes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.methods.base import PartName, Samples

Blocks = Iterable[tuple[Tensor, Tensor]]


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Without batch statistics or dropout; afterwards every training flag is as before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode that is never trained."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are optimised, with their names."""
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


def divergence(
    teacher: Float[Tensor, "n classes"],
    student: Float[Tensor, "n classes"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL(teacher || student) of softened logits: the sum over classes, the mean over rows.

    With gradients for the student. Hinton et al.'s factor T^2 is the caller's.
    """
    return functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


def one_epoch(recipe: Recipe, epoch: int) -> Recipe:
    """What `recipe` is in one of its epochs (0-based), run as a phase of its own."""
    return Recipe(
        optimizer=recipe.optimizer,
        epochs=1,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate_at(epoch),
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        schedule="constant",
    )


@torch.no_grad()
def accuracy(
    model: nn.Module, samples: Samples, part: PartName, classes: tuple[int, ...] = ()
) -> float | None:
    """Share of a part's samples, in [0, 1], whose class the model predicts; in eval mode.

    Args:
        model: a classifier; its training flag is left as it is.
        samples: of the task.
        part: which.
        classes: count the samples of these alone; all if there are none.

    Returns:
        None if no sample is counted.
    """
    right, counted = 0, 0
    with in_eval_mode(model):
        for images, labels in samples.blocks(part):
            among = torch.isin(labels, torch.tensor(classes, device=labels.device))
            mask = among if classes else torch.ones_like(among)
            right += int(((model(images).argmax(dim=1) == labels) & mask).sum())
            counted += int(mask.sum())
    return right / counted if counted else None


def summed_gradients(model: nn.Module, blocks: Blocks, *, power: int = 1) -> dict[str, Tensor]:
    """Sum over blocks of (gradient of a block's mean cross-entropy) ** power, in eval mode.

    Args:
        model: a classifier; its gradients are not left behind.
        blocks: images and classes; blocks of one sample give per-sample gradients.
        power: 1, or 2 for squared gradients.

    Returns:
        By the name of each trained parameter.
    """
    parameters = dict(trained(model))
    sums = {name: torch.zeros_like(value) for name, value in parameters.items()}
    with in_eval_mode(model):
        for images, labels in blocks:
            loss = functional.cross_entropy(model(images), labels)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    sums[name] += gradient**power
    return sums
