"""Methods of several phases: what each iteration sees, and that a restart changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.toy import TwoLayerBackbone
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import NonFiniteLoss, StopRequested
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Split
from unlearn_ray.engine import loop
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.loop import Progress, Report
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.unlearning import unlearn
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method, Phase, Task

COMPUTE = Compute.detect()
FAMILY = Supervised()
COUNT = 40
SPLIT = Split(validation=np.arange(32, 40), forget=np.arange(0, 10), retain=np.arange(10, 32))


@schema
class Busy(Method):
    """Descends on noise that it keeps, then on the model with a batch beside, then on a part."""

    batch_size: int = 4
    learning_rate: float = 0.05
    stop_after: int = 100

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        state = nn.Module()
        noise = torch.randn(4, 3, 6, 6, generator=task.samples.generator("noise"))
        state.noise = nn.Parameter(noise)
        state.register_buffer("kept", torch.zeros(5))
        state.register_buffer("updates", torch.zeros(1))
        return state

    def phase(self, number: int, model: nn.Module, task: Task) -> Phase | None:
        state = task.state
        noise = partial(self.noise_loss, model, task)
        both = partial(self.both_losses, model, task)
        retain = partial(task.family.criterion, model)
        adam = Recipe(optimizer="adam", epochs=1, batch_size=4, learning_rate=0.1)
        once = Recipe(epochs=2, batch_size=5, learning_rate=0.01, schedule="constant")

        def keep() -> None:
            state.kept.copy_(model.classifier.bias[:5])

        def count() -> None:
            state.updates.add_(1)

        def until() -> bool:
            return float(state.updates) >= self.stop_after

        phases = [
            Phase(adam, "forget", noise, module=state, training=False, repeats=2),
            Phase(self, "forget", both, beside="retain", repeats=2, after=keep,
                  after_update=count, until=until),
            Phase(once, "retain", retain, retain_limit=13),
        ]  # fmt: skip
        return phases[number] if number < len(phases) else None

    def noise_loss(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        return -nn.functional.cross_entropy(model(task.state.noise), batch.labels[:4])

    def both_losses(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
        assert batch.beside is not None
        return task.family.criterion(model, batch.beside) - task.family.criterion(model, batch)

    def finish(self, model: nn.Module, task: Task) -> None:
        with torch.no_grad():
            model.classifier.bias[:5] += task.state.kept


@dataclass
class Kept:
    """Checkpoints in memory."""

    seconds_between: float = 0.0
    at_end: bool = False
    last: tuple[dict[str, Tensor], dict[str, str]] | None = None
    iterations: list[int] = field(default_factory=list)

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        return self.last

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.iterations.append(iteration)
        self.last = ({name: value.clone() for name, value in tensors.items()}, dict(metadata))


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
    # 10 forget samples: 2 batches of 4, each twice, in each of 2 epochs.
    report, weights = run(Busy(epochs=2))
    assert report.iterations == 4 + 8 + 4
    assert not same(weights, new_model(1).state_dict())
    assert report.seconds > 0


@pytest.mark.parametrize("stopped_at", range(1, 17))
def test_a_restart_at_any_iteration_changes_nothing(
    stopped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    expected, weights = run(Busy(epochs=2))
    seen = 0

    def stop(_: Progress) -> bool:
        nonlocal seen
        seen += 1
        if seen == stopped_at:
            raise StopRequested("run", "stopped", "go on")
        return False

    kept = Kept()
    with pytest.raises(StopRequested):
        run(Busy(epochs=2), kept, stop)
    resumed, found = run(Busy(epochs=2), kept)
    assert same(found, weights)
    assert resumed.iterations == expected.iterations
    assert resumed.loss == expected.loss
    assert kept.iterations == sorted(kept.iterations)


def test_a_phase_ends_when_it_is_told_to() -> None:
    assert run(Busy(epochs=5, stop_after=8))[0].iterations == 4 + 8 + 4
    assert run(Busy(epochs=5))[0].iterations == 4 + 20 + 4


def test_every_iteration_sees_another_batch_beside() -> None:
    seen: list[tuple[list[int], list[int]]] = []

    @schema
    class Noting(Method):
        """Notes what it sees."""

        batch_size: int = 5

        def phase(self, number: int, model: nn.Module, task: Task) -> Phase | None:
            loss = partial(self.note, model, task)
            return Phase(self, "forget", loss, beside="retain", repeats=3) if number == 0 else None

        def note(self, model: nn.Module, task: Task, batch: Batch) -> Tensor:
            beside = batch.beside
            assert beside is not None
            assert batch.is_forget.all()
            assert not beside.is_forget.any()
            numbers = [round(1000 * float(image.sum())) for image in beside.view(0)]
            seen.append((batch.labels.tolist(), numbers))
            return task.family.criterion(model, beside)

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
        run(Spoiling(epochs=0))
