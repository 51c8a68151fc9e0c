"""Each image's teacher, against loops in float64, and whole runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods.problem import CLASS, RANDOM, accuracy, original, run
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.bad_teacher import BadTeacher
from unlearn_ray.methods.base import Task
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch

FAMILY = Supervised()
FAST: dict[str, Any] = {"batch_size": 20, "learning_rate": 0.01}


def model_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return FAMILY.build(TwoLayerBackbone(), 10).double()


def prepared(method: BadTeacher) -> Task:
    samples = ToySamples(30, 12, dtype=torch.float64, make_model=lambda: model_of(1).eval())
    task = Task(FAMILY, samples)
    return replace(task, state=method.prepare(model_of(2).eval(), task))


def softened(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(value / temperature) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("forget", [(), (0, 4), tuple(range(7))])
def test_loss(temperature: float, forget: tuple[int, ...]) -> None:
    method = BadTeacher(temperature=temperature)
    task, student = prepared(method), model_of(3)
    batch = random_batch(7, forget, views=1, dtype=torch.float64)
    bad, good = (model_of(seed).eval()(batch.view(0)).tolist() for seed in (1, 2))
    terms = []
    for row, logits in enumerate(student(batch.view(0)).tolist()):
        p = softened((bad if row in forget else good)[row], temperature)
        q = softened(logits, temperature)
        terms += [a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)]
    loss = method.loss(student, batch, task)
    assert loss.item() == pytest.approx(math.fsum(terms) / 70)
    loss.backward()
    assert all(weight.grad is not None for weight in student.parameters())
    assert all(weight.grad is None for weight in task.state.parameters())


@pytest.mark.parametrize(("fraction", "limit"), [(0.0, 0), (0.3, 9), (1.0, 30)])
def test_sees_a_part_of_the_retain_set(fraction: float, limit: int) -> None:
    method = BadTeacher(retain_fraction=fraction)
    (phase,) = method.phases(model_of(3), prepared(method))
    assert (phase.trains_on, phase.retain_limit) == ("all", limit)


def test_an_epoch_has_the_forget_set_and_that_part() -> None:
    # 40 forget samples and 36 of 120 retain samples.
    assert run(BadTeacher(**{**FAST, "batch_size": 4}), RANDOM).report.iterations == 76 // 4
    assert run(BadTeacher(retain_fraction=0, **FAST), RANDOM).report.iterations == 2


def test_a_class_is_forgotten() -> None:
    left = run(BadTeacher(epochs=10, retain_fraction=1.0, **FAST), CLASS)
    assert accuracy(original(), CLASS.forget) == 1
    assert left.grown(CLASS.forget) > 4
    assert left.accuracy(CLASS.retain) > 0.9


def test_zero_epochs_leave_every_bit() -> None:
    assert run(BadTeacher(epochs=0), RANDOM).same_as(original())


def test_recipe_is_the_authors() -> None:
    method = BadTeacher()
    assert (method.optimizer, method.learning_rate, method.weight_decay) == ("adam", 1e-4, 0)
    assert (method.epochs, method.batch_size, method.retain_fraction) == (1, 256, 0.3)
