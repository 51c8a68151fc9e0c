"""Both passes against loops in float64, their order, and the rewinding."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.methods.problem import CLASS, RANDOM, VALIDATION, original, run
from tests.restarts import Kept, stop_at_report
from unlearn_ray.core.errors import StopRequested, TrialError
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Phase, Task
from unlearn_ray.methods.scrub import SCRUB
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch
from unlearn_ray.train import loop

FAMILY = Supervised()
REWINDING = SCRUB(
    epochs=4, alpha=0.1, batch_size=24, forget_batch_size=4, learning_rate=0.01, rewind=True
)


def models() -> tuple[nn.Module, nn.Module]:
    """A student and another model, its teacher."""
    torch.manual_seed(0)
    student, teacher = (FAMILY.build(TwoLayerBackbone(), 10).double() for _ in range(2))
    return student, teacher


def task_of(method: SCRUB, teacher: nn.Module) -> Task:
    task = Task(FAMILY, ToySamples(30, 12, dtype=torch.float64))
    return replace(task, state=method.prepare(teacher.eval(), task))


def phases(method: SCRUB) -> list[Phase]:
    student, teacher = models()
    return list(method.phases(student, task_of(method, teacher)))


def softened(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(value / temperature) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


def naive(method: SCRUB, rows: list[tuple[list[float], list[float], int]]) -> tuple[float, float]:
    """Mean D and mean cross-entropy of rows of teacher's logits, student's logits and label."""
    divergences, entropies = [], []
    for teacher, student, label in rows:
        p, q = (softened(row, method.temperature) for row in (teacher, student))
        kl = math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
        divergences.append(method.temperature**2 * kl)
        entropies.append(-math.log(softened(student, 1.0)[label]))
    return math.fsum(divergences) / len(rows), math.fsum(entropies) / len(rows)


@pytest.mark.parametrize(
    "method", [SCRUB(), SCRUB(alpha=0.7, gamma=0.4, temperature=2.0), SCRUB(gamma=0)]
)
def test_losses(method: SCRUB) -> None:
    batch = random_batch(8, views=1, dtype=torch.float64)
    student, teacher = models()
    task = task_of(method, teacher)
    rows = list(
        zip(
            teacher.eval()(batch.view(0)).tolist(),
            student.train()(batch.view(0)).tolist(),
            batch.labels.tolist(),
            strict=True,
        )
    )
    divergence, entropy = naive(method, rows)
    found = method.forget_loss(student, batch, task)
    assert found.item() == pytest.approx(-divergence)
    found = method.loss(student, batch, task)
    assert found.item() == pytest.approx(method.gamma * entropy + method.alpha * divergence)


def test_only_the_student_learns() -> None:
    student, teacher = models()
    task = task_of(SCRUB(), teacher)
    SCRUB().loss(student, random_batch(8, views=1, dtype=torch.float64), task).backward()
    assert all(weight.grad is not None for weight in student.parameters())
    assert all(weight.grad is None for weight in task.state.parameters())
    assert not task.state.teacher.training


@pytest.mark.parametrize(
    ("epochs", "msteps", "passes"),
    [(3, 2, "frfrr"), (2, 5, "frfr"), (3, 0, "rrr"), (0, 2, ""), (1, 1, "fr")],
)
def test_order_of_passes(epochs: int, msteps: int, passes: str) -> None:
    found = phases(SCRUB(epochs=epochs, msteps=msteps, forget_batch_size=7))
    assert "".join(phase.trains_on[0] for phase in found) == passes
    assert all(phase.recipe.epochs == 1 for phase in found)
    sizes = {phase.trains_on: phase.recipe.batch_size for phase in found}
    assert sizes.get("forget", 7) == 7
    assert sizes.get("retain", 128) == 128


def test_learning_rates() -> None:
    recipes = [
        phase.recipe
        for phase in phases(SCRUB(epochs=11, msteps=0, learning_rate=0.1, weight_decay=0.3))
    ]
    rates = [recipe.learning_rate_at(0) for recipe in recipes]
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 2 + [0.001] * 4 + [0.0001] * 2)
    assert {recipe.weight_decay for recipe in recipes} == {0.3}
    method = SCRUB(epochs=2, msteps=1, learning_rate=0.1, schedule="cosine", lr_decay_epochs=())
    rates = [phase.recipe.learning_rate_at(0) for phase in phases(method)]
    assert rates == pytest.approx([0.1, 0.1, 0.05])


class Missing(nn.Module):
    """Tells the class that an image's first pixel says, if its second is not below a share."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        classes, rank = images[:, 0, 0, 0].long(), images[:, 0, 0, 1]
        told = torch.where(rank < self.share[classes], 9, classes)
        return nn.functional.one_hot(told, 10).float()


def test_rewinding_compares_with_unseen_samples_of_the_classes_of_the_forget_set() -> None:
    samples = ToySamples(1, 1)
    # Of unseen images the share is missed, of the forget set half of it.
    for part, classes, width in (("forget", (2,), 2.0), ("validation", (2, 5), 1.0)):
        images = torch.zeros(20 * len(classes), 3, 6, 6)
        images[:, 0, 0, 0] = labels = torch.tensor(classes).repeat_interleave(20)
        images[:, 0, 0, 1] = width * (torch.arange(len(images)) % 20 + 0.5) / 20
        samples.parts[part] = images, labels
    model, method = Missing(), SCRUB(epochs=5, msteps=0, rewind=True)
    task = Task(FAMILY, samples)
    task = replace(task, state=method.prepare(model, task))
    # Forget errors of 0, 0.2, 0.4, 0.5 and 0.3; then 0.6 of unseen images of class 2, 0.3 of all.
    shares = (0.0, 0.4, 0.8, 1.0, 0.6)
    for phase, share in zip(method.phases(model, task), shares, strict=True):
        with torch.no_grad():
            model.share[2] = share
        assert phase.after is not None
        phase.after()
    method.finish(model, task)
    assert model.share[2] == 1


class TestRuns:
    def test_a_class(self) -> None:
        method = SCRUB(epochs=6, msteps=4, forget_batch_size=10, learning_rate=0.05, batch_size=24)
        left = run(replace(method, lr_decay_epochs=(5,)), CLASS)
        assert left.grown(CLASS.forget) > 5
        assert left.accuracy(CLASS.forget) < 0.3
        # One of the other classes is perhaps like it.
        assert left.accuracy(CLASS.retain) > 0.5

    def test_zero_epochs_leave_every_bit(self) -> None:
        for rewind in (False, True):
            assert run(SCRUB(epochs=0, rewind=rewind), RANDOM).same_as(original())

    def test_rewinds_to_the_nearest_epoch(self) -> None:
        # What the first n epochs leave is what n epochs leave.
        left = [run(replace(REWINDING, epochs=n, rewind=False), RANDOM) for n in range(1, 5)]
        reference = left[-1].accuracy(VALIDATION)
        distances = [abs(one.accuracy(RANDOM.forget) - reference) for one in left]
        rewound = run(REWINDING, RANDOM)
        # Epochs may be equally near, but for a rounding.
        (chosen,) = (
            distance
            for one, distance in zip(left, distances, strict=True)
            if rewound.same_as(one.model)
        )
        assert chosen == pytest.approx(min(distances), abs=1e-6)

    def test_a_restart_rewinds_to_the_same_epoch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
        expected = run(REWINDING, RANDOM)
        kept = Kept()
        with pytest.raises(StopRequested):
            run(REWINDING, RANDOM, kept, stop_at_report(38))
        assert run(REWINDING, RANDOM, kept).same_as(expected.model)

    def test_rewinding_needs_unseen_samples_of_the_classes(self) -> None:
        for validation in (VALIDATION[:0], VALIDATION[VALIDATION % 4 != 1]):
            with pytest.raises(TrialError, match=r"rewind = true.*hold out more for validation"):
                run(SCRUB(rewind=True), replace(CLASS, validation=validation))
