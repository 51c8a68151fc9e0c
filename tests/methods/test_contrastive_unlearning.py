"""Equations 5 to 11 against loops in float64, the queue, the two stopping rules, whole runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.methods.problem import (
    CLASS,
    LABELS,
    RANDOM,
    VALIDATION,
    Memory,
    accuracy,
    original,
    run,
)
from tests.restarts import Kept, stop_at_iteration
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.families.supervised import Supervised, SupervisedModel
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.contrast import RetainQueue, is_forgotten
from unlearn_ray.methods.contrastive_unlearning import ContrastiveUnlearning
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch
from unlearn_ray.train import loop

QUEUE = ContrastiveUnlearning(variant="queue", queue_size=15, temperature=0.4)
SMALL: dict[str, Any] = {"batch_size": 20, "learning_rate": 1e-2, "queue_size": 60}

# Labels of anchors and of the retain batch.
MIXED = ([0, 1, 2, 3, 0, 1], [1, 0, 2, 1, 0, 5])
CASES = {
    "every anchor has both": ([0, 1, 2, 0, 1, 2], [1, 0, 2, 1, 0, 5]),
    "one has no positives": MIXED,
    "none has positives": ([7] * 6, [1, 0, 2, 1, 0, 5]),
    "some have no negatives": ([4, 4, 4, 4, 1, 2], [4, 4, 4, 4, 4, 4]),
}


def model_of(family: Supervised, dtype: torch.dtype = torch.float64) -> SupervisedModel:
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10).to(dtype)
    assert isinstance(model, SupervisedModel)
    return model


def pair(labels: tuple[list[int], list[int]] = MIXED) -> Batch:
    """A forget batch and its companion, a retain batch."""
    own, others = (random_batch(6, seed=n, views=1, dtype=torch.float64) for n in (1, 2))
    return replace(
        own,
        labels=torch.tensor(labels[0]),
        is_forget=torch.ones(6, dtype=torch.bool),
        companions=(replace(others, labels=torch.tensor(labels[1])),),
    )


def state_of(method: ContrastiveUnlearning, family: Supervised, model: nn.Module) -> Task:
    task = Task(family, ToySamples(15, 9, dtype=torch.float64))
    return replace(task, state=method.prepare(model.eval(), task))


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value**2 for value in vector))
    return [value / length for value in vector]


def dot(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def log_sum_exp(values: list[float]) -> float:
    return math.log(math.fsum(math.exp(value) for value in values))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def unlearning_loss(
    anchors: list[tuple[list[float], int]],
    others: list[tuple[list[float], int]],
    method: ContrastiveUnlearning,
) -> float:
    """Equations 5, 6 and 11, with the mean over anchors."""
    losses = []
    for embedding, label in anchors:
        positives: list[float] = []
        negatives: list[float] = []
        for other, its_label in others:
            similarity = dot(embedding, other) / method.temperature
            (positives if its_label == label else negatives).append(similarity)
        push = log_sum_exp(positives) if positives else math.log(len(negatives))
        if method.variant == "batch":
            pull = mean(negatives)
        else:
            pull = log_sum_exp(negatives) if negatives else 0.0
        losses.append(push - pull)
    return mean(losses)


def cross_entropy(logits: Tensor, labels: list[int]) -> float:
    rows = zip(logits.tolist(), labels, strict=True)
    return mean([log_sum_exp(row) - row[label] for row, label in rows])


def labelled(embeddings: Tensor, labels: Tensor) -> list[tuple[list[float], int]]:
    return [
        (unit(row), label) for row, label in zip(embeddings.tolist(), labels.tolist(), strict=True)
    ]


def expected_loss(method: ContrastiveUnlearning, family: Supervised, batch: Batch) -> float:
    """Equation 7; batch norm sees forget and retain images together."""
    (companion,) = batch.companions
    images = torch.cat([batch.view(0), companion.view(0)])
    represented = model_of(family).represent(images)
    logits = model_of(family)(images)[6:]
    others = labelled(represented[6:], companion.labels)
    if method.variant == "queue":
        model = model_of(family).eval()
        # Of 15 places, the first six are written over.
        shown, labels = next(ToySamples(15, 9, dtype=torch.float64).blocks("retain"))
        kept = labelled(model.represent(shown), labels)[6:]
        others = labelled(model.represent(companion.view(0)), companion.labels) + kept
    unlearning = unlearning_loss(labelled(represented[:6], batch.labels), others, method)
    kept_loss = cross_entropy(logits, companion.labels.tolist())
    return method.lambda_ul * unlearning + method.lambda_ce * kept_loss


@pytest.mark.parametrize("embedding_size", [None, 7])
@pytest.mark.parametrize("labels", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    "method",
    [
        ContrastiveUnlearning(),
        ContrastiveUnlearning(lambda_ul=0.5, lambda_ce=2.0, temperature=0.2),
        ContrastiveUnlearning(lambda_ul=0),
        QUEUE,
    ],
    ids=["defaults", "weights", "retain", "queue"],
)
class TestLoss:
    def test_equals_loops(
        self,
        method: ContrastiveUnlearning,
        labels: tuple[list[int], list[int]],
        embedding_size: int | None,
    ) -> None:
        family = Supervised(embedding_size=embedding_size)
        batch, model = pair(labels), model_of(family)
        task = state_of(method, family, model)
        found = method.loss(model.train(), batch, task)
        assert found.item() == pytest.approx(expected_loss(method, family, batch), abs=1e-12)

    def test_gradients_are_finite_and_equal_differences(
        self,
        method: ContrastiveUnlearning,
        labels: tuple[list[int], list[int]],
        embedding_size: int | None,
    ) -> None:
        family = Supervised(embedding_size=embedding_size)
        batch, model = pair(labels), model_of(family)
        task = state_of(method, family, model)
        method.loss(model.train(), batch, task).backward()
        gradient = model.backbone.linear.weight.grad
        assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
        for index in [(0, 0), (1, 2), (4, 5)]:
            values = []
            for step in (1e-6, -1e-6):
                # The queue does not move with the model, as it does not in the gradient.
                moved, still = model_of(family), state_of(method, family, model_of(family))
                with torch.no_grad():
                    moved.backbone.linear.weight[index] += step
                values.append(method.loss(moved, batch, still).item())
            difference = (values[0] - values[1]) / 2e-6
            assert gradient[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)


def test_descending_leaves_the_own_class_for_the_others() -> None:
    family, batch = Supervised(), pair(CASES["every anchor has both"])
    torch.manual_seed(0)
    method, model = ContrastiveUnlearning(lambda_ce=0), family.build(Memory(), 10).double()
    same = batch.labels[:, None] == batch.companions[0].labels[None, :]

    @torch.no_grad()
    def gap() -> float:
        rows = torch.nn.functional.normalize(model.represent(batch.joined.view(0)))
        similarities = rows[:6] @ rows[6:].T
        return float(similarities[same].mean() - similarities[~same].mean())

    before = gap()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        method.loss(model, batch, Task(family, ToySamples(15, 9))).backward()
        optimiser.step()
    assert gap() < before - 0.1


class TestQueue:
    def test_is_filled_from_the_retain_set(self) -> None:
        model = model_of(Supervised(), torch.float32).eval()
        samples = ToySamples(15, 9)
        images, labels = next(samples.blocks("retain"))
        for size, kept in ((4, 4), (15, 15), (40, 15)):
            queue = RetainQueue(model, Task(Supervised(), samples), size)
            assert queue.classes.tolist() == labels[:kept].tolist()
            rows = [unit(row) for row in model.represent(images[:kept]).tolist()]
            torch.testing.assert_close(queue.embeddings, torch.tensor(rows))

    @pytest.mark.parametrize("size", [4, 6, 9, 15])
    def test_the_newest_take_the_place_of_the_oldest(self, size: int) -> None:
        model = model_of(Supervised(), torch.float32).eval()
        queue = RetainQueue(model, Task(Supervised(), ToySamples(15, 9)), size)
        history = list(zip(queue.classes.tolist(), queue.embeddings.tolist(), strict=True))
        for seed in range(5):
            batch = random_batch(6, seed=seed, views=1)
            embeddings, classes = queue.after(batch, Supervised())
            rows = model.represent(batch.view(0)).tolist()
            history += [(c, unit(row)) for c, row in zip(batch.labels.tolist(), rows, strict=True)]
            found = sorted(zip(classes.tolist(), embeddings.tolist(), strict=True))
            for (label, row), (kept, wanted) in zip(found, sorted(history[-size:]), strict=True):
                assert label == kept
                assert row == pytest.approx(wanted, abs=1e-6)

    def test_the_copy_follows_slowly_and_takes_the_statistics(self) -> None:
        model = model_of(Supervised())
        queue = RetainQueue(model, Task(Supervised(), ToySamples(15, 9, dtype=torch.float64)), 5)
        slow = {name: value.clone() for name, value in queue.copy.named_parameters()}
        for _ in range(3):
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(torch.randn_like(weight))
                model.train()(torch.randn(4, 3, 6, 6, dtype=torch.float64))
            queue.follow(model, 0.9)
            for name, weight in model.named_parameters():
                slow[name] = 0.9 * slow[name] + 0.1 * weight.detach()
        for name, weight in queue.copy.named_parameters():
            torch.testing.assert_close(weight, slow[name])
            assert not weight.requires_grad
        for copied, buffer in zip(queue.copy.buffers(), model.buffers(), strict=True):
            assert torch.equal(copied, buffer)
        assert not queue.copy.training

    def test_all_of_it_is_in_the_state_dict(self) -> None:
        task = Task(Supervised(), ToySamples(15, 9))
        model = model_of(Supervised(), torch.float32).eval()
        one, other = (RetainQueue(model, task, 9) for _ in range(2))
        one.after(random_batch(6, views=1), Supervised())
        one.follow(model_of(Supervised(), torch.float32).train(), 0.5)
        other.load_state_dict(one.state_dict())
        newer = [
            queue.after(random_batch(6, seed=3, views=1), Supervised()) for queue in (one, other)
        ]
        assert torch.equal(newer[0][0], newer[1][0])
        assert torch.equal(newer[0][1], newer[1][1])


class FirstPixel(nn.Module):
    """Predicts the class that an image's first pixel says."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float()


def predicted(
    labels: dict[str, list[int]], wrong: dict[str, int], forgotten: tuple[int, ...] = ()
) -> Task:
    """Samples of these labels; `FirstPixel` misses the first `wrong` ones of each part."""
    samples = ToySamples(1, 1, forgotten=forgotten)
    for part, classes in labels.items():
        images = torch.zeros(len(classes), 3, 6, 6)
        images[:, 0, 0, 0] = torch.tensor(classes, dtype=torch.float32)
        images[: wrong.get(part, 0), 0, 0, 0] = 9
        samples.parts[part] = (images, torch.tensor(classes, dtype=torch.int64))
    return Task(Supervised(), samples)


class TestStopping:
    @pytest.mark.parametrize(
        ("forget", "validation", "stops"), [(5, 5, True), (6, 5, True), (4, 5, False), (0, 0, True)]
    )
    def test_samples_are_no_better_known_than_unseen_ones(
        self, forget: int, validation: int, stops: bool
    ) -> None:
        labels = {"forget": [0, 1] * 10, "validation": [2, 3] * 10}
        task = predicted(labels, {"forget": forget, "validation": validation})
        assert is_forgotten(FirstPixel(), task) is stops

    @pytest.mark.parametrize(("wrong", "stops"), [(17, False), (18, True), (20, True)])
    def test_unseen_samples_of_a_class_are_guessed(self, wrong: int, stops: bool) -> None:
        # A tenth of 20; neither the other classes nor the forget set counts.
        labels = {"forget": [3] * 20, "validation": [3] * 20 + [5] * 20}
        task = predicted(labels, {"validation": wrong}, forgotten=(3,))
        assert is_forgotten(FirstPixel(), task) is stops

    @pytest.mark.parametrize("validation", [[], [5] * 20])
    @pytest.mark.parametrize(("wrong", "stops"), [(17, False), (18, True), (20, True)])
    def test_without_unseen_samples_of_the_class_its_forget_set_counts(
        self, wrong: int, stops: bool, validation: list[int]
    ) -> None:
        task = predicted({"forget": [3] * 20, "validation": validation}, {"forget": wrong}, (3,))
        assert is_forgotten(FirstPixel(), task) is stops

    def test_without_validation_nothing_says_that_samples_are_forgotten(self) -> None:
        task = predicted({"forget": [0] * 20, "validation": []}, {"forget": 20})
        assert not is_forgotten(FirstPixel(), task)

    @pytest.mark.parametrize(("wrong", "stops"), [(2, True), (1, False)])
    def test_a_class_and_samples_of_another_are_samples(self, wrong: int, stops: bool) -> None:
        # By equation 8 neither would stop: unseen samples of class 3 are known.
        labels = {"forget": [3, 3, 5, 5], "validation": [3, 3, 5, 5]}
        task = predicted(labels, {"forget": wrong, "validation": 2}, forgotten=(3,))
        task.samples.parts["validation"] = tuple(
            rows.flip(0) for rows in task.samples.parts["validation"]
        )
        assert is_forgotten(FirstPixel(), task) is stops


class TestRuns:
    @pytest.mark.parametrize("variant", ["batch", "queue"])
    def test_a_class(self, variant: str) -> None:
        left = run(ContrastiveUnlearning(variant=variant, **SMALL), CLASS)
        unseen = VALIDATION[LABELS[VALIDATION] == 1]
        assert accuracy(original(), CLASS.forget) == 1
        assert accuracy(original(), unseen) > 0.5
        assert left.accuracy(unseen) <= 0.25
        assert left.accuracy(CLASS.forget) < 0.6
        assert left.accuracy(CLASS.retain) > 0.8
        # Two forget batches and four retain batches for each: 8 updates an epoch.
        assert left.report.iterations in (8, 16, 24)

    @pytest.mark.parametrize(("variant", "lambda_ce"), [("batch", 20), ("queue", 5)])
    def test_samples(self, variant: str, lambda_ce: float) -> None:
        values = {**SMALL, "learning_rate": 1e-3, "lambda_ce": lambda_ce}
        left = run(ContrastiveUnlearning(variant=variant, **values), RANDOM)
        assert accuracy(original(), RANDOM.forget) == 1
        assert left.accuracy(RANDOM.forget) <= left.accuracy(VALIDATION)
        assert left.accuracy(RANDOM.retain) > 0.9
        assert left.grown(RANDOM.forget) > left.grown(RANDOM.retain)
        assert 0 < left.report.iterations < 8 * 30

    def test_without_validation_all_epochs_are_run(self) -> None:
        split = replace(RANDOM, validation=np.arange(0))
        left = run(ContrastiveUnlearning(epochs=6, omega=3, **SMALL), split)
        assert left.report.iterations == 6 * 2 * 3

    @pytest.mark.parametrize("variant", ["batch", "queue"])
    def test_zero_epochs_leave_every_bit(self, variant: str) -> None:
        left = run(ContrastiveUnlearning(variant=variant, epochs=0), RANDOM)
        assert left.same_as(original())
        assert left.report.iterations == 0

    def test_a_restart_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
        # Too slow for equation 9 to end it.
        values = {**SMALL, "learning_rate": 1e-5, "epochs": 4}
        method = ContrastiveUnlearning(variant="queue", **values)
        expected = run(method, RANDOM)
        assert expected.report.iterations == 32
        for stop_at in (3, 8, 21):
            kept = Kept()
            with pytest.raises(StopRequested):
                run(method, RANDOM, kept, stop_at_iteration(stop_at))
            again = run(method, RANDOM, kept)
            assert again.same_as(expected.model)
            assert again.report.iterations == expected.report.iterations


def test_values_are_the_official_ones() -> None:
    method = ContrastiveUnlearning()
    assert (method.lambda_ul, method.lambda_ce, method.omega, method.temperature) == (3, 1, 4, 0.7)
    assert (method.epochs, method.batch_size, method.learning_rate) == (30, 128, 1e-3)
    assert (method.optimizer, method.momentum, method.weight_decay) == ("sgd", 0.9, 5e-4)
