"""UNSIR's three phases against loops."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.methods.exact import prepared, small_model, small_task
from tests.methods.problem import CLASS, LABELS, original, run
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.schema import schema
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods import unsir
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.unsir import Unsir
from unlearn_ray.testing.toy import random_batch

SMALL = Unsir(noise_size=3, noise_batches=2, samples_per_class=4)
QUICK = Unsir(
    epochs=3, learning_rate=0.02, batch_size=20, samples_per_class=50, noise_size=16,
    noise_batches=4, noise_penalty=0.01,
)  # fmt: skip


def batch_of(size: int) -> Batch:
    batch = random_batch(size, views=1, image_size=4, dtype=torch.float64)
    return replace(batch, labels=batch.labels % 2 + 1)


def task_of(method: Unsir, forgotten: tuple[int, ...] = (0, 3)) -> Task:
    return prepared(method, small_model(), small_task(forgotten=forgotten))


def cross_entropy(model: nn.Module, image: Tensor, label: int) -> float:
    logits = model(image[None])[0].tolist()
    return math.log(math.fsum(map(math.exp, logits))) - logits[label]


def test_noise_is_normal_and_labelled() -> None:
    state = task_of(replace(SMALL, noise_size=500)).state
    assert state.images.shape == (1000, 3, 4, 4)
    assert state.labels.tolist() == [0] * 500 + [3] * 500
    assert float(state.images.mean()) == pytest.approx(0, abs=0.02)
    assert float(state.images.std()) == pytest.approx(1, abs=0.02)
    assert set(state.state_dict()) == {"images", "labels"}


@pytest.mark.parametrize("penalty", [0.1, 0.0])
def test_noise_loss(penalty: float) -> None:
    method = replace(SMALL, noise_penalty=penalty)
    task, model = task_of(method), small_model()
    expected = 0.0
    for number, label in enumerate((0, 3)):
        images = task.state.images[3 * number : 3 * number + 3]
        errors = [cross_entropy(model, image, label) for image in images]
        lengths = [math.fsum(value**2 for value in image.flatten().tolist()) for image in images]
        expected += -sum(errors) / 3 + penalty * sum(lengths) / 3
    loss = method.noise_loss(model, batch_of(4), task)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert task.state.images.grad.abs().sum() > 0


def shown(model: nn.Module, method: Unsir, batch: Batch, task: Task) -> tuple[float, Tensor]:
    """The loss, and what the model is shown."""
    images = []
    hook = model.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0]))
    loss = method.loss(model, batch, task).item()
    hook.remove()
    return loss, torch.cat(images)


def mixed(size: int, added: list[int]) -> Batch:
    return replace(batch_of(size), added=torch.tensor(added, dtype=torch.int64))


@pytest.mark.parametrize(
    ("size", "added"), [(4, [23, 0, 7, 6, 12]), (3, []), (0, [1, 1]), (1, [5])]
)
def test_impair_loss(size: int, added: list[int]) -> None:
    """Added images 0 to 23 are 4 times each of 3 noise images of either class."""
    method = replace(SMALL, noise_batches=4)
    task, model, batch = task_of(method), small_model(), mixed(size, added)
    loss, images = shown(model, method, batch, task)
    assert torch.equal(images[:size], batch.views[0])
    assert torch.equal(images[size:], task.state.images[[number % 6 for number in added]])
    labels = [*batch.labels.tolist(), *([0, 0, 0, 3, 3, 3][number % 6] for number in added)]
    expected = [
        cross_entropy(model, image, label) for image, label in zip(images, labels, strict=True)
    ]
    assert loss == pytest.approx(sum(expected) / (size + len(added)))


@pytest.mark.parametrize("workers", [2, 3, 10])
@pytest.mark.parametrize("size", [0, 4, 10])
def test_workers_see_the_rows_of_one_batch(
    size: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model, batch = task_of(SMALL), small_model(), mixed(size, list(range(10 - size)))
    _, expected = shown(model, SMALL, batch, task)
    seen = []
    for worker in range(workers):
        rows = slice(10 * worker // workers, 10 * (worker + 1) // workers)
        monkeypatch.setattr(unsir, "own_rows", lambda count, rows=rows: rows)
        monkeypatch.setattr(unsir, "gather_rows", lambda own, count: own.new_zeros(count, 4))
        seen.append(shown(model, SMALL, batch, task)[1])
    assert torch.equal(torch.cat(seen), expected)


def test_phases() -> None:
    method = replace(SMALL, epochs=2, batch_size=7)
    task, model = task_of(method), small_model()
    noise, impair, repair = method.phases(model, task)
    assert noise.module is task.state
    assert not noise.training
    assert (noise.recipe.epochs, noise.repeats, noise.trains_on) == (1, 40, "forget")
    assert noise.recipe.batch_size == task.forget_size
    assert (noise.recipe.optimizer, noise.recipe.learning_rate) == ("adam", 0.1)
    assert noise.recipe.weight_decay == 0
    for phase, rate, added in ((impair, 0.02, 12), (repair, 0.01, 0)):
        recipe = phase.recipe
        assert (recipe.optimizer, recipe.learning_rate, recipe.epochs) == ("adam", rate, 2)
        assert (phase.trains_on, phase.retain_per_class, phase.module) == ("retain", 4, None)
        assert (phase.added, recipe.last_batch) == (added, "keep")
        assert (phase.training, recipe.batch_size, recipe.weight_decay) == (True, 7, 0)
    batch = batch_of(6)
    expected = [
        cross_entropy(model, image, label)
        for image, label in zip(batch.views[0], batch.labels.tolist(), strict=True)
    ]
    assert repair.loss(model, batch, task).item() == pytest.approx(sum(expected) / 6)


# Of 4 classes one is forgotten; 40 retain samples are of each other one.
@pytest.mark.parametrize(
    ("per_class", "noise_size", "noise_batches", "batch_size"),
    [(1000, 256, 20, 256), (40, 5, 1, 25), (7, 3, 2, 4), (1, 1, 60, 62), (13, 2, 3, 1000)],
)
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epoch_shows_what_is_promised(
    per_class: int, noise_size: int, noise_batches: int, batch_size: int, epochs: int
) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    @schema
    class Counting(Unsir):
        """Notes the images of every batch."""

        def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            assert batch.added is not None
            seen.append((batch.ids.tolist(), (batch.added % noise_size).tolist()))
            return Unsir.loss(self, model, batch, task)

    method = Counting(
        samples_per_class=per_class, noise_size=noise_size, noise_batches=noise_batches,
        batch_size=batch_size, noise_steps=1, epochs=epochs, learning_rate=1e-3,
    )  # fmt: skip
    report = run(method, CLASS).report
    retained = [
        int(each)
        for label in (0, 2, 3)
        for each in [sample for sample in CLASS.retain if LABELS[sample] == label][:per_class]
    ]
    total = len(retained) + noise_size * noise_batches
    updates, left = divmod(total, batch_size)
    updates += left > 1
    assert len(seen) == epochs * updates
    for epoch in range(epochs):
        shown = seen[epoch * updates : (epoch + 1) * updates]
        assert sorted(id_ for ids, _ in shown for id_ in ids) == sorted(retained)
        noise = Counter(number for _, numbers in shown for number in numbers)
        assert noise == Counter([*range(noise_size)] * noise_batches)
    repairs = -(-len(retained) // batch_size) - (len(retained) % batch_size == 1)
    assert report.iterations == 1 + epochs * (updates + repairs)


def test_noise_raises_the_error() -> None:
    method = replace(SMALL, noise_penalty=0.01)
    task, model = task_of(method), small_model()
    before = method.noise_loss(model, batch_of(4), task).item()
    adam = torch.optim.Adam(task.state.parameters(), lr=0.1)
    for _ in range(method.noise_steps):
        adam.zero_grad()
        method.noise_loss(model, batch_of(4), task).backward()
        adam.step()
    assert method.noise_loss(model, batch_of(4), task).item() < before - 1


def test_whole_classes_alone() -> None:
    classes = Classes(classes=(1,))
    assert Unsir.unsupported(Supervised(), classes) is None
    assert Unsir.unsupported(SimCLR(), classes) == "unsir needs a classifier; simclr has none"
    reason = Unsir.unsupported(Supervised(), Random())
    assert reason == "unsir forgets whole classes; the forget set random does not"


def test_a_class_is_forgotten() -> None:
    outcome = run(QUICK, CLASS)
    assert outcome.accuracy(CLASS.forget) < 0.1
    assert outcome.accuracy(CLASS.retain) > 0.9


def test_zero_epochs() -> None:
    assert run(replace(QUICK, epochs=0), CLASS).same_as(original())


def test_published_settings() -> None:
    method = Unsir()
    assert (method.optimizer, method.epochs, method.batch_size) == ("adam", 1, 256)
    assert (method.learning_rate, method.repair_learning_rate) == (0.02, 0.01)
    assert (method.samples_per_class, method.noise_size, method.noise_batches) == (1000, 256, 20)
    assert (method.noise_steps, method.noise_learning_rate, method.noise_penalty) == (40, 0.1, 0.1)
