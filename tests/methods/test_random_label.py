"""Labels that are drawn once or anew, passes apart or mixed, and the loss against loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods.problem import CLASS, RANDOM, accuracy, data, logits, original, run, task_of
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.random_label import RandomLabel
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch

FAMILY = Supervised()
FAST: dict[str, Any] = {"batch_size": 10, "learning_rate": 0.1}


def model_of() -> nn.Module:
    torch.manual_seed(0)
    return FAMILY.build(TwoLayerBackbone(), 10).double()


def prepared(method: RandomLabel, samples: ToySamples) -> Task:
    task = Task(FAMILY, samples)
    return replace(task, state=method.prepare(model_of().eval(), task))


def test_loss() -> None:
    task = prepared(RandomLabel(), ToySamples(30, 12, dtype=torch.float64))
    batch = random_batch(9, (0, 3, 8), views=1, dtype=torch.float64)
    # Rows of the batch in any order: the sample, not the row, says the label.
    batch = replace(batch, ids=torch.tensor([7, 20, 13, 2, 41, 15, 30, 29, 11]))
    labels = batch.labels.tolist()
    for row, sample in ((0, 7), (3, 2), (8, 11)):
        labels[row] = int(task.state.labels[sample])
    losses = []
    for row, label in zip(model_of()(batch.view(0)).tolist(), labels, strict=True):
        losses.append(math.log(math.fsum(math.exp(value) for value in row)) - row[label])
    found = RandomLabel().loss(model_of(), batch, task)
    assert found.item() == pytest.approx(math.fsum(losses) / 9)


@pytest.mark.parametrize("never_own", [False, True])
def test_labels_are_uniform(never_own: bool) -> None:
    samples = ToySamples(10, 8000, classes=5)
    labels = prepared(RandomLabel(never_own=never_own), samples).state.labels[:8000]
    own = samples.labels("forget")
    for label in range(5):
        drawn = labels[own == label]
        shares = torch.bincount(drawn, minlength=5) / len(drawn)
        for other, share in enumerate(shares.tolist()):
            expected = (0 if other == label else 1 / 4) if never_own else 1 / 5
            assert share == pytest.approx(expected, abs=0.05)
            assert not (never_own and other == label and share > 0)


def test_labels_are_those_of_the_samples() -> None:
    """In the split of a seed, forget samples are anywhere in the dataset."""
    split = replace(RANDOM, forget=RANDOM.retain[::2], retain=RANDOM.forget)
    task = task_of(split)
    method = RandomLabel(never_own=True)
    labels, again = (method.prepare(original(), task).labels for _ in range(2))
    assert torch.equal(labels, again)
    forget = torch.from_numpy(split.forget)
    own = data().train_labels[forget]
    assert (labels[forget] != own).all()
    assert len(labels[forget].unique()) == 4


def test_redrawn_labels_change_with_the_batch() -> None:
    method = RandomLabel(redrawn=True)
    task = prepared(method, ToySamples(30, 12, dtype=torch.float64))
    batch = random_batch(8, tuple(range(8)), views=1, dtype=torch.float64)

    def loss(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        again = replace(batch, generator=generator)
        return method.loss(model_of(), again, task).item()

    assert loss(1) == loss(1)
    assert len({loss(seed) for seed in range(5)}) == 5
    drawn = torch.randint(10, (8,), generator=torch.Generator().manual_seed(3))
    expected = nn.functional.cross_entropy(model_of()(batch.view(0)), drawn)
    assert loss(3) == pytest.approx(expected.item())


def test_passes() -> None:
    task = prepared(RandomLabel(), ToySamples(30, 12))

    def found(method: RandomLabel) -> list[tuple[str, int, float]]:
        return [
            (phase.trains_on, phase.recipe.epochs, phase.recipe.learning_rate_at(0))
            for phase in method.phases(model_of(), task)
        ]

    apart = RandomLabel(epochs=2, learning_rate=0.1, schedule="cosine")
    assert found(apart) == [
        ("forget", 1, 0.1), ("retain", 1, 0.1),
        ("forget", 1, pytest.approx(0.05)), ("retain", 1, pytest.approx(0.05)),
    ]  # fmt: skip
    assert found(replace(apart, passes="mixed")) == [("all", 2, 0.1)]
    for passes in ("apart", "mixed"):
        assert found(RandomLabel(epochs=0, passes=passes)) == []


@pytest.mark.parametrize("passes", ["apart", "mixed"])
@pytest.mark.parametrize("redrawn", [False, True])
def test_a_class_is_forgotten(passes: str, redrawn: bool) -> None:
    left = run(RandomLabel(passes=passes, redrawn=redrawn, never_own=True, **FAST), CLASS)
    assert accuracy(original(), CLASS.forget) == 1
    assert left.accuracy(CLASS.forget) < 0.4
    assert left.accuracy(CLASS.retain) > 0.85


def test_labels_drawn_once_are_learnt() -> None:
    method = RandomLabel(passes="mixed", epochs=60, batch_size=10, learning_rate=0.03)
    left = run(method, RANDOM)
    labels = method.prepare(original(), task_of(RANDOM)).labels[RANDOM.forget]
    found = logits(left.model, RANDOM.forget).argmax(dim=1)
    assert (found == labels).float().mean() > 0.8


@pytest.mark.parametrize("passes", ["apart", "mixed"])
def test_zero_epochs_leave_every_bit(passes: str) -> None:
    assert run(RandomLabel(epochs=0, passes=passes), RANDOM).same_as(original())
