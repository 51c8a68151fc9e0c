"""Checkpoints that are stored while the training goes on: what is stored, and what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tests.restarts import stop_at_iteration
from unlearn_ray.core.errors import NonFiniteLoss, StopRequested, StoreError
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress, Report, Training, optimise

COMPUTE = Compute.cpu()
COUNT = 24
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.05)  # 12 iterations
PATIENCE = 60.0


@dataclass
class Slow:
    """Checkpoints that are stored in their own time."""

    before: Callable[[int], None]
    seconds_between: float = 1e9
    at_end: bool = False
    saved: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    in_thread: set[str] = field(default_factory=set)

    def load(self) -> None:
        return None

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.in_thread.add(threading.current_thread().name)
        self.before(iteration)
        self.saved[iteration] = tensors


def save_at(*iterations: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.iteration in iterations


def train(
    checkpoints: Slow,
    on_progress: Callable[[Progress], bool],
    seen: Callable[[int, nn.Module], None] = lambda number, model: None,
    rate: float = 0.05,
) -> Report:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    inputs = torch.randn(COUNT, 3)

    def loss(iteration: Iteration) -> Tensor:
        seen(iteration.number, model)
        return model(inputs[iteration.rows]).square().mean() * rate / 0.05

    training = Training((Player(model, RECIPE, loss),), COUNT, 1)
    return optimise(training, COMPUTE, checkpoints=checkpoints, on_progress=on_progress)


@pytest.fixture(autouse=True)
def _tell_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn_ray.train.loop.PROGRESS_SECONDS", 0.0)


def test_the_run_goes_on_while_a_checkpoint_is_stored_as_it_was() -> None:
    went_on = threading.Event()
    weights: dict[int, Tensor] = {}

    def seen(number: int, model: nn.Module) -> None:
        weights[number] = model.get_parameter("weight").detach().clone()
        if number == 9:
            went_on.set()

    def before(iteration: int) -> None:
        assert went_on.wait(PATIENCE), "the run waits for the checkpoint"

    slow = Slow(before)
    train(slow, save_at(3), seen)
    assert torch.equal(slow.saved[3]["model/weight"], weights[3])
    assert not torch.equal(weights[3], weights[9])
    assert threading.current_thread().name not in slow.in_thread


def test_one_is_stored_at_a_time() -> None:
    under_way: list[int] = []

    def before(iteration: int) -> None:
        under_way.append(iteration)
        assert len(under_way) == 1
        time.sleep(0.05)
        under_way.remove(iteration)

    slow = Slow(before, at_end=True)
    train(slow, save_at(2, 3, 4))
    assert [*slow.saved] == [2, 3, 4, 12]


@pytest.mark.parametrize("fails_at", [3, 7])
def test_a_checkpoint_that_is_not_stored_ends_the_run(fails_at: int) -> None:
    last: list[int] = []

    def before(iteration: int) -> None:
        if iteration == fails_at:
            raise StoreError("store", "refuses", "mend it")

    slow = Slow(before)
    with pytest.raises(StoreError, match="refuses"):
        train(slow, save_at(3, 7), lambda number, _: last.append(number))
    # At the next checkpoint, or at the end.
    assert last[-1] == (6 if fails_at == 3 else 11)
    assert [*slow.saved] == ([] if fails_at == 3 else [3])


def test_a_run_that_is_stopped_leaves_its_last_checkpoint() -> None:
    slow = Slow(lambda iteration: time.sleep(0.2))
    with pytest.raises(StopRequested):
        train(slow, stop_at_iteration(5))
    assert [*slow.saved] == [5]


def test_an_error_of_the_run_waits_for_the_checkpoint_and_is_told() -> None:
    def before(iteration: int) -> None:
        time.sleep(0.2)
        begun.append(iteration)
        raise StoreError("store", "refuses", "mend it")

    def seen(number: int, model: nn.Module) -> None:
        if number == 4:
            with torch.no_grad():
                model.get_parameter("weight").fill_(torch.nan)

    begun: list[int] = []
    with pytest.raises(NonFiniteLoss):
        train(Slow(before), save_at(3), seen)
    assert begun == [3], "nothing is stored once the run has ended"


def test_storing_is_no_part_of_the_compute_seconds() -> None:
    def before(iteration: int) -> None:
        began = time.thread_time()
        while time.thread_time() - began < 0.5:
            pass

    def seen(number: int, model: nn.Module) -> None:
        if number == 11:  # within the stopwatch's time
            time.sleep(1)

    report = train(Slow(before), save_at(3), seen)
    assert report.seconds < 0.3
