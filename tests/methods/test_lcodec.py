"""LCODEC against exact Hessians."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.methods.exact import flat, gradients, hessian, small_model, small_task
from tests.methods.problem import CLASS, accuracy, original, run
from tests.methods.test_codec import naive_foci
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.codec import Rows
from unlearn_ray.methods.lcodec import LCODEC
from unlearn_ray.methods.shared import flattened


def rows_of(model: nn.Module) -> tuple[Rows, Tensor]:
    """Some rows of every layer, and where they lie among all weights."""
    layers = [model.backbone.conv, model.backbone.linear, model.classifier]
    rows = Rows(layers, [2, 4, 0, 9])
    marked = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    marked["backbone.conv.weight"][[0, 2]] = 1
    for part in ("weight", "bias"):
        marked[f"backbone.linear.{part}"][1] = 1
        marked[f"classifier.{part}"][2] = 1
    where = torch.cat([value.flatten() for value in marked.values()]).nonzero()[:, 0]
    assert len(where) == 2 * 27 + (3 + 1) + (4 + 1)
    return rows, where


def in_order(model: nn.Module, rows: Rows, where: Tensor) -> Tensor:
    """Of each entry of `rows`, its place in `where`."""
    twin = small_model()
    with torch.no_grad():
        start = 0
        for weight in model.parameters():
            count = weight.numel()
            weight.copy_(torch.arange(start, start + count).view(weight.shape))
            start += count
        places = rows.values().long()
        model.load_state_dict(twin.state_dict())
    assert torch.equal(places.sort().values, where)
    return places


@pytest.mark.parametrize("batch_size", [4, 256])
def test_hessian_product_is_the_exact_hessian(batch_size: int) -> None:
    model, task = small_model(), small_task()
    rows, where = rows_of(model)
    places = in_order(model, rows, where)
    method = LCODEC(samples=9, batch_size=batch_size)
    images, labels = (each[:9] for each in task.samples.parts["retain"])
    expected = hessian(model, images, labels)[places][:, places]
    columns = [
        method.hessian_product(model, task, rows, unit)
        for unit in torch.eye(len(places), dtype=torch.float64)
    ]
    torch.testing.assert_close(torch.stack(columns, dim=1), expected)


@pytest.mark.parametrize("batch_size", [2, 256])
def test_step_is_newtons(batch_size: int) -> None:
    model, task = small_model(), small_task(retain=12, forget=5)
    rows, where = rows_of(model)
    places = in_order(model, rows, where)
    method = LCODEC(damping=2.0, strength=3.0, iterations=200, batch_size=batch_size)
    matrix = hessian(model, *task.samples.parts["retain"])[places][:, places]
    damped = matrix + 2.0 * torch.eye(len(places), dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(damped)
    assert eigenvalues.min() > 0
    total = sum(gradients(model, task, "forget")[:3])[places]
    expected = 3.0 / (17 - 3) * torch.linalg.inv(damped) @ total
    images, labels = (each[:3] for each in task.samples.parts["forget"])
    found = method.step(model, task, images, labels, rows)
    # What a residual of a millionth allows.
    allowed = 1e-6 * eigenvalues.max() / eigenvalues.min()
    assert (found - expected).norm() <= allowed * expected.norm()


class Fixed(LCODEC):
    """Without a search."""

    def select(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Rows:
        return Rows([model.classifier], [1, 3])


def test_groups_follow_each_other() -> None:
    model, task = small_model(), small_task(forget=5)
    method = Fixed(removals=2, largest_drop=1, damping=1.0)
    twin = small_model()
    rows = Rows([twin.classifier], [1, 3])
    for group in (slice(0, 3), slice(3, 5)):
        images, labels = (each[group] for each in task.samples.parts["forget"])
        rows.put(rows.values() + method.step(twin, task, images, labels, rows))
    method.finish(model, task)
    assert torch.equal(flat(model), flat(twin))
    assert not torch.equal(flat(model), flat(small_model()))
    assert torch.equal(model.backbone.conv.weight, small_model().backbone.conv.weight)


class Everything(LCODEC):
    """Selects a whole layer."""

    def select(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Rows:
        return Rows([model.backbone.first], range(64))


def test_what_costs_too_much_is_taken_back() -> None:
    spoiling = Everything(strength=1e6, removals=2)
    assert run(spoiling, CLASS).same_as(original())
    allowed = run(replace(spoiling, largest_drop=1), CLASS)
    assert allowed.accuracy(CLASS.retain) < 0.8


class Without(LCODEC):
    """Never answers with a class."""

    label: ClassVar[int]

    def select(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Rows:
        return Rows([model.classifier], [self.label])

    def step(
        self, model: nn.Module, task: Task, images: Tensor, labels: Tensor, rows: Rows
    ) -> Tensor:
        far = [torch.full_like(each, -1e3 if each.dim() == 1 else 0) for each in rows.parameters]
        return rows.of(flattened(far))


class WithoutForgotten(Without):
    label = 1


class WithoutKept(Without):
    label = 2


def test_only_the_classes_that_are_kept_count() -> None:
    """Either class is a quarter of the validation accuracy; forgetting one is not taken back."""
    outcome = run(WithoutForgotten(removals=1, largest_drop=0.1), CLASS)
    assert outcome.accuracy(CLASS.forget) == 0
    assert outcome.accuracy(CLASS.retain) >= accuracy(original(), CLASS.retain)
    assert run(WithoutKept(removals=1, largest_drop=0.1), CLASS).same_as(original())


def test_a_class_is_forgotten_more_than_the_others() -> None:
    method = LCODEC(strength=3, damping=0.1, perturbations=100, removals=2, largest_drop=1)
    outcome = run(method, CLASS)
    assert outcome.grown(CLASS.forget) > max(1.0, outcome.grown(CLASS.retain))
    assert outcome.accuracy(CLASS.retain) > 0.9


def test_noise() -> None:
    task = small_task(retain=40, forget=10)
    method = Fixed(epsilon=0.1, delta=0.01, damping=1.0, removals=1, largest_drop=1)
    gamma = 2 * 0.25 * 10**2 / (50**2 * 1.0**3)
    deviation = gamma / 0.1 * math.sqrt(2 * math.log(1.25 / 0.01))
    assert method.noise_deviation(task, 10) == pytest.approx(deviation)
    plain, noisy = small_model(), small_model()
    replace(method, epsilon=None).finish(plain, task)
    method.finish(noisy, task)
    drawn = torch.randn(2 * 5, generator=task.samples.generator("lcodec")).double()
    rows = Rows([noisy.classifier], [1, 3])
    moved = rows.values() - Rows([plain.classifier], [1, 3]).values()
    torch.testing.assert_close(moved, deviation * drawn)


def test_selection_is_focis() -> None:
    model, task = small_model(), small_task()
    images, labels = task.samples.parts["forget"]
    method = LCODEC(perturbations=40, images=3, rows=4, deviation=0.2)
    found = method.select(model, images, labels, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    layers = [model.backbone.conv, model.backbone.linear, model.classifier]
    activations, losses = [], []
    for _ in range(40):
        copied = images[:3] + 0.2 * torch.randn(images[:3].shape, generator=generator)
        hidden = model.backbone.conv(copied).mean(dim=(0, 2, 3))
        features = model.backbone(copied)
        logits = model.classifier(features)
        activations.append(torch.cat([hidden, features.mean(dim=0), logits.mean(dim=0)]))
        losses.append(torch.nn.functional.cross_entropy(logits, labels[:3]))
    chosen = naive_foci(torch.stack(losses).detach(), torch.stack(activations).detach(), 4)
    expected = Rows(layers, chosen)
    assert torch.equal(found.values(), expected.values())
    assert len(found.values()) < len(flat(model))
