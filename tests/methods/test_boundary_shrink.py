"""Boundary Shrink against loops over pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.methods.exact import prepared, small_model, small_task
from tests.methods.problem import CLASS, logits, original, run, task_of
from unlearn_ray.core.batch import Batch
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.boundary_shrink import BoundaryShrink
from unlearn_ray.testing.toy import random_batch

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def batch_of(size: int) -> Batch:
    """Images of noise that has left [0, 1] here and there; labels of the small model."""
    batch = random_batch(size, tuple(range(size)), views=1, image_size=4, dtype=torch.float64)
    return replace(batch, labels=batch.labels % 4)


def model_of(seed: int = 0) -> nn.Module:
    """Gives all classes to the images of noise."""
    model = small_model(seed)
    with torch.no_grad():
        model.classifier.bias -= model(batch_of(6).view(0)).mean(dim=0)
    return model


def attacked(model: nn.Module, image: Tensor, label: int, epsilon: float) -> Tensor:
    """FGSM of one image, pixel by pixel."""
    image = image.clone().requires_grad_()
    (-model(image[None]).log_softmax(dim=1)[0, label]).backward()
    found = torch.empty_like(image)
    for channel in range(3):
        for row in range(4):
            for column in range(4):
                place = (channel, row, column)
                pixel = image[place].item() * DEVIATION[channel] + MEAN[channel]
                pixel += epsilon * math.copysign(1, image.grad[place].item())
                pixel = round(255 * min(max(pixel, 0.0), 1.0)) / 255
                found[place] = (pixel - MEAN[channel]) / DEVIATION[channel]
    return found.detach()


def small(method: BoundaryShrink, model: nn.Module) -> Task:
    return prepared(method, model, small_task())


@pytest.mark.parametrize("incorrect", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.4])
def test_loss(epsilon: float, incorrect: bool) -> None:
    method, batch = BoundaryShrink(epsilon=epsilon, incorrect=incorrect), batch_of(6)
    task = small(method, model_of())
    student = model_of(seed=1)
    total, classes = 0.0, []
    for image, label in zip(batch.views[0], batch.labels.tolist(), strict=True):
        logits = model_of()(attacked(model_of(), image, label, epsilon)[None])[0].tolist()
        allowed = [index for index in range(4) if index != label or not incorrect]
        classes.append(max(allowed, key=lambda index: logits[index]))
        own = student(image[None])[0].tolist()
        total += math.log(math.fsum(map(math.exp, own))) - own[classes[-1]]
    assert method.nearest(task, batch.view(0), batch.labels).tolist() == classes
    assert method.loss(student, batch, task).item() == pytest.approx(total / 6)
    unmoved = replace(method, epsilon=0.0).nearest(task, batch.view(0), batch.labels)
    assert (classes == unmoved.tolist()) == (epsilon == 0)


def test_attack_is_on_the_frozen_original() -> None:
    method, batch = BoundaryShrink(epsilon=0.3), batch_of(6)
    model = model_of()
    task = small(method, model)
    before = method.nearest(task, batch.view(0), batch.labels)
    with torch.no_grad():
        model.classifier.weight *= -1
    assert torch.equal(method.nearest(task, batch.view(0), batch.labels), before)
    method.loss(model, batch, task).backward()
    assert all(weight.grad is None for weight in task.state.parameters())
    assert not batch.views[0].requires_grad


def test_a_class_moves_over_its_boundaries() -> None:
    method = BoundaryShrink(learning_rate=3e-4, batch_size=10, epsilon=0.3)
    outcome = run(method, CLASS)
    task = task_of(CLASS)
    task = replace(task, state=method.prepare(original(), task))
    ((images, labels),) = task.samples.blocks("forget")
    nearest = method.nearest(task, images, labels)
    assert (logits(outcome.model, CLASS.forget).argmax(dim=1) == nearest).float().mean() > 0.7
    assert outcome.accuracy(CLASS.retain) > 0.9
    # To be other than the own class, it must be so whether an attack succeeds or not.
    other = run(replace(method, incorrect=True), CLASS)
    assert other.accuracy(CLASS.forget) < min(0.5, outcome.accuracy(CLASS.forget) - 0.1)
    assert other.accuracy(CLASS.retain) > 0.9


def test_a_sure_model_is_attacked_all_the_same() -> None:
    """Its cross-entropy and the gradient of that are 0 in float32."""
    method, batch = BoundaryShrink(epsilon=0.4), batch_of(6)
    model = model_of().float()
    with torch.no_grad():
        for weight in model.classifier.parameters():
            weight *= 1e6
    images = batch.view(0).float()
    labels = model(images).argmax(dim=1)
    assert functional.cross_entropy(model(images), labels) == 0
    found = method.nearest(small(method, model), images, labels)
    assert (found != labels).sum() >= 3


def test_zero_epochs() -> None:
    assert run(BoundaryShrink(epochs=0), CLASS).same_as(original())


def test_published_settings() -> None:
    method = BoundaryShrink()
    assert (method.epochs, method.batch_size, method.learning_rate) == (10, 64, 1e-5)
    assert (method.optimizer, method.momentum, method.weight_decay) == ("sgd", 0.9, 0)
    assert method.epsilon == 0.1
