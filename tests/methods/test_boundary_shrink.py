"""Boundary Shrink against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.methods.colours import accuracies, original, same_bits, unlearned
from tests.methods.exact import prepared, small_model, small_task
from tests.toy import random_batch
from unlearn_ray.core.batch import Batch
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.boundary_shrink import BoundaryShrink

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def batch_of(size: int) -> Batch:
    """Images of noise that has left [0, 1] here and there; labels of the small model."""
    batch = random_batch(size, tuple(range(size)), views=1, image_size=4, dtype=torch.float64)
    return Batch(batch.views, batch.labels % 4, batch.is_forget, batch.generator)


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


def task_of(method: BoundaryShrink, model: nn.Module) -> Task:
    return prepared(method, model, small_task())


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.4])
def test_loss(epsilon: float) -> None:
    method, batch = BoundaryShrink(epsilon=epsilon), batch_of(6)
    task = task_of(method, small_model())
    student = small_model(seed=1)
    total, classes = 0.0, []
    for image, label in zip(batch.views[0], batch.labels.tolist(), strict=True):
        logits = small_model()(attacked(small_model(), image, label, epsilon)[None])[0].tolist()
        classes.append(max(range(4), key=lambda index: logits[index]))
        own = student(image[None])[0].tolist()
        total += math.log(math.fsum(map(math.exp, own))) - own[classes[-1]]
    assert method.nearest(task, batch.view(0), batch.labels).tolist() == classes
    assert method.loss(student, batch, task).item() == pytest.approx(total / 6)


def test_attack_is_on_the_frozen_original() -> None:
    method, batch = BoundaryShrink(epsilon=0.3), batch_of(6)
    model = small_model()
    task = task_of(method, model)
    before = method.nearest(task, batch.view(0), batch.labels)
    with torch.no_grad():
        model.classifier.weight *= -1
    assert torch.equal(method.nearest(task, batch.view(0), batch.labels), before)
    method.loss(model, batch, task).backward()
    assert all(weight.grad is None for weight in task.state.parameters())
    assert not batch.views[0].requires_grad


def test_a_class_moves_over_its_boundaries() -> None:
    method = BoundaryShrink(learning_rate=1e-3, batch_size=10, epsilon=0.3)
    forget, retain = accuracies(unlearned(method))
    assert forget < 0.1
    assert retain > 0.9


def test_zero_epochs() -> None:
    assert same_bits(unlearned(BoundaryShrink(epochs=0)), original())


def test_published_settings() -> None:
    method = BoundaryShrink()
    assert (method.epochs, method.batch_size, method.learning_rate) == (10, 64, 1e-5)
    assert (method.optimizer, method.momentum, method.weight_decay) == ("sgd", 0.9, 0)
    assert method.epsilon == 0.1
