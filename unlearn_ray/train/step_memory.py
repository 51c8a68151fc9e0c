"""Roughly how much of a GPU's memory a step needs, from its model and its batches."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from unlearn_ray.models.base import Model

# Under autocast most of what is kept for the backward pass is in bf16, half of float32.
_HALF = 0.5
# What is kept while an update runs, in sizes of the model: weights, gradients, both of Adam's
# averages, and what the optimizer computes with.
_COPIES = 5


def step_memory(
    model: Model, image_size: int, *, half: int, full: int = 0, copies: int = 0, data: int = 0
) -> int:
    """Bytes that the updates of a training or unlearning step need, about.

    It counts the backbone, not the layers behind it, which are small beside it, nor a text tower.

    Args:
        model: the backbone.
        image_size: height and width of the images.
        half: images whose forward passes an update keeps, in bf16.
        full: those that it keeps in float32.
        copies: frozen copies of the model.
        data: bytes of the images that stay on the device.
    """
    weights, activations = sizes(model, image_size)
    kept = activations * (_HALF * half + full)
    return int((_COPIES + copies) * weights + kept) + data


@cache
def sizes(model: Model, image_size: int) -> tuple[int, int]:
    """Bytes of a backbone's weights, and of what is kept of an image's forward pass, in float32.

    Tried out on two images, as it depends on the layers.
    """
    with torch.random.fork_rng(devices=[]):
        return _tried(model, image_size)


def _tried(model: Model, image_size: int) -> tuple[int, int]:
    backbone = model.build(image_size).train()
    own = {weight.untyped_storage().data_ptr() for weight in backbone.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Layers share what they keep; held here, so that no other takes its place.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    images = 2
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = backbone(torch.zeros(images, 3, image_size, image_size))
    assert output.requires_grad
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return _bytes_of(backbone), activations // images


def _bytes_of(module: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
