"""Methods of several phases: what each iteration sees, and that a restart changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.restarts import Kept, stop_at_report
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import NonFiniteLoss, StopRequested
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Dataset, Split
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method, Phase, Task, TrainingMethod, criterion
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train import loop
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Progress, Report
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.unlearning import unlearn

COMPUTE = Compute.cpu()
FAMILY = Supervised()
COUNT = 40
SPLIT = Split(validation=np.arange(32, 40), forget=np.arange(0, 10), retain=np.arange(10, 32))


@schema
class Busy(TrainingMethod):
    """Descends on noise that it keeps, on the model with companions, on a part, in turn."""

    batch_size: int = 4
    learning_rate: float = 0.05
    stop_after: int = 100

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        state = nn.Module()
        noise = torch.randn(4, 3, 6, 6, generator=task.samples.generator("noise"))
        state.noise = nn.Parameter(noise)
        state.other = nn.Linear(10, 2)
        nn.init.constant_(state.other.weight, 0.1)
        nn.init.zeros_(state.other.bias)
        state.register_buffer("kept", torch.zeros(5))
        state.register_buffer("updates", torch.zeros(1))
        return state

    def phases(self, model: nn.Module, task: Task) -> list[Phase]:
        state = task.state
        adam = Recipe(optimizer="adam", epochs=1, batch_size=4, learning_rate=0.1)
        once = Recipe(epochs=2, batch_size=5, learning_rate=0.01, schedule="constant")

        def keep() -> None:
            state.kept.copy_(model.classifier.bias[:5])

        def count() -> None:
            state.updates.add_(1)

        def until() -> bool:
            return float(state.updates) >= self.stop_after

        return [
            Phase(adam, "forget", self.noise_loss, module=state, training=False, repeats=2),
            Phase(self.recipe, "forget", self.loss, ("retain", "validation"), repeats=2,
                  after=keep, after_update=count, until=until),
            Phase(once, "retain", criterion, retain_limit=13),
            Phase(once, "retain", self.in_turn_loss, ("forget",), iterations=5,
                  opponent=Player(state.other, adam, self.other_loss)),
        ]  # fmt: skip

    def noise_loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        noise = task.state.noise[: batch.size]
        return -nn.functional.cross_entropy(model(noise), batch.labels)

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        retain, validation = (task.family.criterion(model, each) for each in batch.companions)
        return retain + 0.1 * validation - task.family.criterion(model, batch)

    def other_loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        """Which of the two batches an image is of."""
        with torch.no_grad():
            logits = model(batch.joined.view(0))
        return self.told(task, logits, batch)

    def in_turn_loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        return task.family.criterion(model, batch) - self.told(
            task, model(batch.joined.view(0)), batch
        )

    def told(self, task: Task, logits: Tensor, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(task.state.other(logits), batch.joined.is_forget.long())

    def finish(self, model: nn.Module, task: Task) -> None:
        with torch.no_grad():
            model.classifier.bias[:5] += task.state.kept


def data() -> ResidentData:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 6, 6, 3), dtype=torch.uint8, generator=noise)
    labels = torch.arange(COUNT) % 10
    return ResidentData(pixels, labels, pixels, labels, 10)


def new_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return FAMILY.build(TwoLayerBackbone(), 10)


def run(
    method: Method,
    checkpoints: Kept | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
) -> tuple[Report, dict[str, Tensor]]:
    model = new_model(1)
    report = unlearn(
        model, FAMILY, method, data(), SPLIT, seed=3, compute=COMPUTE,
        make_model=new_model, checkpoints=checkpoints, on_progress=on_progress,
    )  # fmt: skip
    assert not model.training
    return report, model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_phases_follow_each_other() -> None:
    # 10 forget samples: 2 batches of 4 and one of 2, each twice, in each of 2 epochs.
    report, weights = run(Busy(epochs=2))
    assert report.iterations == 6 + 12 + 6 + 5
    assert not same(weights, new_model(1).state_dict())
    assert report.seconds > 0
    # Two players in each iteration of the second and of the last phase.
    ends = {(curve.phase, curve.player): curve.iterations[-1] for curve in report.curves}
    assert [ends[phase, 0] for phase in range(4)] == [6, 18, 24, 29]
    assert all(len(curve.iterations) <= 50 for curve in report.curves)
    assert report.curves[-1].losses[-1] == report.loss


@pytest.mark.parametrize("stopped_at", range(1, 30))
def test_a_restart_at_any_iteration_changes_nothing(
    stopped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    expected, weights = run(Busy(epochs=2))
    kept = Kept()
    with pytest.raises(StopRequested):
        run(Busy(epochs=2), kept, stop_at_report(stopped_at))
    resumed, found = run(Busy(epochs=2), kept)
    assert same(found, weights)
    assert resumed.iterations == expected.iterations
    assert resumed.loss == expected.loss
    assert resumed.curves == expected.curves
    assert kept.iterations == sorted(kept.iterations)


def test_a_phase_ends_when_it_is_told_to() -> None:
    assert run(Busy(epochs=5, stop_after=12))[0].iterations == 6 + 12 + 6 + 5
    assert run(Busy(epochs=5))[0].iterations == 6 + 30 + 6 + 5


def test_every_iteration_sees_another_companion() -> None:
    seen: list[tuple[list[int], list[int]]] = []

    @schema
    class Noting(TrainingMethod):
        """Notes what it sees."""

        batch_size: int = 5

        def phases(self, model: nn.Module, task: Task) -> list[Phase]:
            return [Phase(self.recipe, "forget", self.loss, ("retain",), repeats=3)]

        def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            (companion,) = batch.companions
            assert batch.is_forget.all()
            assert not companion.is_forget.any()
            numbers = [round(1000 * float(image.sum())) for image in companion.view(0)]
            seen.append((batch.labels.tolist(), numbers))
            return task.family.criterion(model, companion)

    run(Noting(epochs=2))
    assert len(seen) == 2 * 2 * 3
    for begin in range(0, len(seen), 3):
        assert seen[begin][0] == seen[begin + 1][0] == seen[begin + 2][0]
    # 22 retain samples: a pass is 4 batches of 5, without repetition.
    for begin in range(0, len(seen), 4):
        shown = [number for _, numbers in seen[begin : begin + 4] for number in numbers]
        assert len(set(shown)) == 20
    assert {*seen[0][1]} != {*seen[4][1]}


def test_weights_that_an_edit_spoils_end_the_trial() -> None:
    @schema
    class Spoiling(Method):
        """Divides by zero."""

        def finish(self, model: nn.Module, task: Task) -> None:
            with torch.no_grad():
                model.classifier.bias /= 0

    with pytest.raises(NonFiniteLoss, match="weights after unlearning"):
        run(Spoiling())


def test_an_opponent_is_updated_right_before_the_model_on_the_same_batch() -> None:
    events: list[tuple[str, list[int]]] = []

    @schema
    class InTurn(TrainingMethod):
        """Pulls two numbers towards each other."""

        batch_size: int = 6
        learning_rate: float = 0.5
        momentum: float = 0.0
        weight_decay: float = 0.0

        def prepare(self, model: nn.Module, task: Task) -> nn.Module:
            state = nn.Module()
            state.own = nn.ParameterList([torch.tensor(1.0)])
            state.other = nn.ParameterList([torch.tensor(0.0)])
            return state

        def phases(self, model: nn.Module, task: Task) -> list[Phase]:
            slower = Recipe(learning_rate=0.1, momentum=0, weight_decay=0, schedule="constant")
            other = Player(task.state.other, slower, self.other_loss)
            own = task.state.own
            return [
                Phase(self.recipe, "retain", self.loss, module=own, opponent=other, iterations=5)
            ]

        def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            events.append(("own", batch.ids.tolist()))
            return (task.state.own[0] - task.state.other[0].detach()) ** 2 / 2

        def other_loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            events.append(("other", batch.ids.tolist()))
            return (task.state.other[0] - task.state.own[0].detach()) ** 2 / 2

        def finish(self, model: nn.Module, task: Task) -> None:
            events.append(("end", [task.state.own[0].item(), task.state.other[0].item()]))

    report, _ = run(InTurn(epochs=1))
    own, other = 1.0, 0.0
    for _ in range(5):
        other -= 0.1 * (other - own)
        own -= 0.5 * (own - other)
    assert report.iterations == 5
    assert events[-1][1] == pytest.approx([own, other])
    # 22 retain samples are 3 batches of 6 and one of 4: the fifth update is in the second epoch.
    names, batches = zip(*events[:-1], strict=True)
    assert names == ("other", "own") * 5
    assert batches[::2] == batches[1::2]
    assert len({*map(tuple, batches)}) == 5


def test_companions_come_from_the_validation_set_and_another_dataset() -> None:
    asked: list[Dataset] = []
    seen: list[tuple[set[int], set[int], bool]] = []
    others = data()
    white = replace(others, train_images=torch.full((7, 6, 6, 3), 255, dtype=torch.uint8),
                    train_labels=torch.zeros(7, dtype=torch.int64))  # fmt: skip

    @schema
    class Reading(TrainingMethod):
        """Notes what it sees."""

        batch_size: int = 3

        def phases(self, model: nn.Module, task: Task) -> list[Phase]:
            return [Phase(self.recipe, "forget", self.loss, ("validation", Digits()))]

        def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            own, other = batch.companions
            first = other.view(0)[:, :, :1, :1]
            assert torch.equal(other.view(0), first.expand_as(other.view(0)))
            seen.append(({*own.ids.tolist()}, {*other.ids.tolist()}, bool(other.is_forget.any())))
            return task.family.criterion(model, batch)

    def extra_data(dataset: Dataset) -> ResidentData:
        asked.append(dataset)
        return white

    unlearn(
        new_model(1), FAMILY, Reading(epochs=20), data(), SPLIT, seed=3, compute=COMPUTE,
        make_model=new_model, extra_data=extra_data,
    )  # fmt: skip
    assert asked == [Digits()]
    # A pass over either leaves one or two images out: not the same ones in each of 30 passes.
    assert len(seen) == 60
    assert set().union(*(own for own, _, _ in seen)) == {*range(32, 40)}
    assert set().union(*(other for _, other, _ in seen)) == {*range(7)}
    assert not any(forget for _, _, forget in seen)
