"""Fisher forgetting against loops over images and classes, and against an exact Hessian."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.methods.exact import CLASSES, hessian, small_model, small_task
from tests.methods.problem import CLASS, RANDOM, run
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.fisher import Fisher, diagonal


def naive_diagonal(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    sums = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    for image in images:
        for label in range(CLASSES):
            share = model(image[None]).softmax(dim=1)[0, label]
            found = torch.autograd.grad(share.log(), list(model.parameters()))
            for name, gradient in zip(sums, found, strict=True):
                sums[name] += share.detach() * gradient * gradient
    return {name: value / len(images) for name, value in sums.items()}


@pytest.mark.parametrize("held", [1, 3, 16])
def test_diagonal(held: int) -> None:
    model, task = small_model(), small_task()
    found = diagonal(model, task.samples.blocks("retain", size=1, limit=7), held)
    expected = naive_diagonal(model, task.samples.parts["retain"][0][:7])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
        assert (found[name] > 0).any()


def test_diagonal_is_the_hessians_in_the_last_layer() -> None:
    """There the Hessian of cross-entropy is the Fisher information, whatever the labels."""
    model, task = small_model(), small_task()
    images, labels = task.samples.parts["retain"]
    size = sum(weight.numel() for weight in model.get_submodule("classifier").parameters())
    expected = hessian(model, images, labels).diagonal()[-size:]
    found = diagonal(model, task.samples.blocks("retain", size=1), 16)
    last = torch.cat([found[f"classifier.{name}"].flatten() for name in ("weight", "bias")])
    torch.testing.assert_close(last, expected)


def naive_edit(method: Fisher, model: nn.Module, task: Task) -> dict[str, list[float]]:
    information = naive_diagonal(model, task.samples.parts["retain"][0][: method.samples])
    generator = task.samples.generator("fisher")
    edited = {}
    for name, weight in model.named_parameters():
        last = name.startswith("classifier")
        bound = 100.0 if last else 1000.0
        louder = 10.0 if last or weight.dim() == 1 else 1.0
        noise = torch.randn(weight.shape, generator=generator).flatten().tolist()
        rows = information[name].reshape(len(weight), -1)
        values: list[float] = []
        for row, own in enumerate(weight.detach().reshape(len(weight), -1).tolist()):
            forgotten = last and row in task.samples.forgotten_classes
            variances = [
                method.alpha * min(1 / (each + 1e-8), bound) for each in rows[row].tolist()
            ]
            pixels = 9 if weight.dim() == 4 else 1
            for column, mean in enumerate(own):
                # Input channels lie `pixels` apart.
                same_place = variances[column % pixels :: pixels]
                variance = louder * sum(same_place) / len(same_place)
                if forgotten:
                    mean, variance = 0.0, 10 * 1e-4
                values.append(mean + variance**0.5 * noise[len(values)])
        edited[name] = values
    return edited


@pytest.mark.parametrize("forgotten", [(), (2,), (0, 3)])
@pytest.mark.parametrize("alpha", [1e-6, 1e-3])
def test_edit(alpha: float, forgotten: tuple[int, ...]) -> None:
    model, task = small_model(), small_task(forgotten=forgotten)
    method = Fisher(alpha=alpha, samples=7)
    expected = naive_edit(method, model, task)
    method.finish(model, task)
    for name, weight in model.named_parameters():
        assert weight.flatten().tolist() == pytest.approx(expected[name], rel=1e-9, abs=1e-12)


def test_a_class_is_forgotten() -> None:
    outcome = run(Fisher(alpha=1e-6), CLASS)
    assert outcome.grown(CLASS.forget) > 4
    assert outcome.grown(CLASS.retain) < 3
    assert outcome.accuracy(CLASS.retain) > 0.9


def test_samples_are_forgotten_with_what_is_like_them() -> None:
    outcome = run(Fisher(alpha=1e-5), RANDOM)
    assert outcome.grown(RANDOM.forget) > 2.5
    assert 0.45 < outcome.grown(RANDOM.forget) / outcome.grown(RANDOM.retain) < 2.2
