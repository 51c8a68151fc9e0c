"""A classifier small enough for dense matrices, and the dense matrices."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone

CLASSES = 4


def small_model(seed: int = 0) -> nn.Module:
    """121 weights in float64, in eval mode, with statistics and biases off their first values."""
    torch.manual_seed(seed)
    model = Supervised().build(TwoLayerBackbone(channels=3, feature_size=4), CLASSES).double()
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*model.parameters(), model.backbone.bn.running_mean):
            value += 0.3 * torch.randn(value.shape, generator=noise, dtype=value.dtype)
    return model.eval()


def small_task(retain: int = 12, forget: int = 5, *, forgotten: tuple[int, ...] = ()) -> Task:
    samples = ToySamples(
        retain, forget, classes=CLASSES, forgotten=forgotten, image_size=4, dtype=torch.float64
    )
    return Task(Supervised(), samples)


def prepared(method: Method, model: nn.Module, task: Task) -> Task:
    return replace(task, state=method.prepare(model, task))


def flat(model: nn.Module) -> Tensor:
    """All weights, in one vector."""
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]).clone()


def loss_at(model: nn.Module, weights: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy as a function of all weights."""
    values, start = {}, 0
    for name, weight in model.named_parameters():
        values[name] = weights[start : start + weight.numel()].view(weight.shape)
        start += weight.numel()
    logits = torch.func.functional_call(model, values, (images,))
    return functional.cross_entropy(logits, labels)


def gradient(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Of one sample's cross-entropy."""
    found = torch.autograd.grad(
        functional.cross_entropy(model(image[None]), label[None]), list(model.parameters())
    )
    return torch.cat([each.flatten() for each in found])


def gradients(model: nn.Module, task: Task, part: str) -> list[Tensor]:
    images, labels = task.samples.parts[part]
    return [gradient(model, image, label) for image, label in zip(images, labels, strict=True)]


def hessian(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Of the mean cross-entropy by all weights."""
    return torch.autograd.functional.hessian(
        lambda weights: loss_at(model, weights, images, labels), flat(model)
    )
