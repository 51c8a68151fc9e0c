"""The mask against a naive sort, and that it holds to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.methods.problem import CLASS, RANDOM, accuracy, original, run, task_of
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.random_label import RandomLabel
from unlearn_ray.methods.salun import SalUn
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone

FAST: dict[str, Any] = {"batch_size": 10, "learning_rate": 0.1, "epochs": 3}


def masks(method: SalUn, model: nn.Module, task: Task) -> dict[str, Tensor]:
    salient = method.prepare(model.eval(), task).salient
    named = list(model.named_parameters())
    pieces = salient.split([weight.numel() for _, weight in named])
    return {
        name: piece.view_as(weight) for (name, weight), piece in zip(named, pieces, strict=True)
    }


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_mask_is_the_largest_gradients(ratio: float) -> None:
    torch.manual_seed(0)
    model = Supervised().build(TwoLayerBackbone(), 10).double().eval()
    samples = ToySamples(30, 12, dtype=torch.float64)
    found = masks(SalUn(ratio=ratio, batch_size=5), model, Task(Supervised(), samples))
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())

    images, labels = samples.parts["forget"]
    scores: dict[tuple[str, int], float] = {}
    for begin in (0, 5, 10):
        model.zero_grad()
        rows = slice(begin, begin + 5)
        functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        for name, weight in model.named_parameters():
            for index, value in enumerate(weight.grad.flatten().tolist()):
                scores[name, index] = scores.get((name, index), 0.0) + value
    largest = sorted(scores, key=lambda where: -abs(scores[where]))[: int(ratio * len(scores))]
    chosen = {
        (name, index)
        for name, mask in found.items()
        for index, value in enumerate(mask.flatten().tolist())
        if value
    }
    assert chosen == set(largest)


@pytest.mark.parametrize("ratio", [0.0, 0.3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_weights_stay_to_the_bit(ratio: float, optimizer: str) -> None:
    method = SalUn(ratio=ratio, optimizer=optimizer, momentum=0.9, weight_decay=0.1, **FAST)
    found = masks(method, original(), task_of(CLASS))
    left, before = run(method, CLASS), dict(original().named_parameters())
    moved = 0
    for name, weight in left.model.named_parameters():
        changed = weight != before[name]
        assert not (changed & ~found[name]).any()
        moved += int(changed.sum())
    salient = sum(int(mask.sum()) for mask in found.values())
    assert moved > 0.9 * salient if ratio else moved == salient == 0


def test_with_all_weights_it_is_random_label() -> None:
    for passes in ("apart", "mixed"):
        free = run(SalUn(ratio=1.0, passes=passes, **FAST), RANDOM)
        assert free.same_as(run(RandomLabel(passes=passes, **FAST), RANDOM).model)
        assert not free.same_as(run(SalUn(ratio=0.5, passes=passes, **FAST), RANDOM).model)


def test_a_class_is_forgotten() -> None:
    left = run(SalUn(never_own=True, **{**FAST, "epochs": 10}), CLASS)
    assert accuracy(original(), CLASS.forget) == 1
    assert left.accuracy(CLASS.forget) < 0.4
    assert left.accuracy(CLASS.retain) > 0.9


def test_zero_epochs_leave_every_bit() -> None:
    assert run(replace(SalUn(), epochs=0), RANDOM).same_as(original())
