"""The board, and how workers ask it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError

from tests.scheduling.nodes import small_ray
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.reporting.progress import Heard
from unlearn_ray.scheduling.board import Board, BoardReporter, Directive, StepReport
from unlearn_ray.train.loop import Progress

HALF = Progress(iteration=5, iterations=10, loss=0.0, seconds=1.0)


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    with small_ray(1):
        yield


@ray.remote(num_cpus=0)
class WatchingBoard:
    """Takes its time, and then looks which CPUs are free."""

    def __init__(self) -> None:
        self.free = -1.0

    def tell(self, *_: Any) -> Directive:
        time.sleep(3)
        self.free = ray.available_resources().get("CPU", 0.0)
        return Directive.CHECKPOINT

    def seen(self) -> float:
        return self.free


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def asking(board: Any) -> bool:
    return BoardReporter(board, ["node"])("key", "step", HALF)


def test_a_task_that_asks_keeps_its_cpu() -> None:
    board = WatchingBoard.remote()
    assert ray.get(asking.remote(board)) is True
    assert ray.get(board.seen.remote()) == 0


def test_what_the_board_wishes_is_done() -> None:
    board = Board.remote()
    ray.get(board.reports.remote())  # until it has started
    reporter = BoardReporter(board, ["node"])
    assert reporter("key", "step", HALF) is False
    assert ray.get(board.reports.remote()) == {"key": StepReport("step", HALF)}
    ray.get(board.stop.remote())
    with pytest.raises(StopRequested):
        reporter("key", "step", HALF)


def test_the_board_knows_of_a_step_from_its_start_to_its_end() -> None:
    board = Board.remote()
    ray.get(board.reports.remote())  # until it has started
    reporter = BoardReporter(board, ["node"])
    with reporter.running("key", "step"):
        (report,) = ray.get(board.reports.remote()).values()
        assert report.heard() == Heard("step", "starting", None)
        reporter("key", "step", Progress(5, 10, 0.0, 1.0, epoch=2, epochs=3))
        (report,) = ray.get(board.reports.remote()).values()
        assert report.heard() == Heard("step", "epoch 2 of 3", 0.5)
        reporter("key", "step", Progress(5, 10, 0.0, 1.0, epoch=2, epochs=3, doing="probe"))
        (report,) = ray.get(board.reports.remote()).values()
        assert report.heard() == Heard("step", "probe", 0.5)
        ray.get(
            board.begun.remote("key", StepReport("step", HALF))
        )  # another worker goes on with it
        (report,) = ray.get(board.reports.remote()).values()
        assert report.heard().times == 2
    deadline = time.monotonic() + 30  # nobody waits for the board's hearing of the end
    while ray.get(board.reports.remote()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ray.get(board.reports.remote()) == {}


def test_the_board_forgets_what_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board.__ray_metadata__.modified_class()
    board.begun("key", StepReport("step", HALF))
    assert board.reports() == {"key": StepReport("step", HALF)}
    monkeypatch.setattr("unlearn_ray.scheduling.board.SILENT_SECONDS", -1.0)
    assert board.reports() == {}


def test_a_step_of_a_sweep_that_is_gone_does_not_fail() -> None:
    board = Board.remote()
    ray.get(board.reports.remote())  # until it has started
    ray.kill(board)
    _await_death(board)
    reporter = BoardReporter(board, ["node"])
    with pytest.raises(StopRequested), reporter.running("key", "step"):
        raise AssertionError("nobody wants it")


def _await_death(board: Any) -> None:
    """Kills are sent, not awaited: for a moment the actor still answers."""
    for _ in range(600):
        try:
            ray.get(board.reports.remote())
        except ActorDiedError:
            return
        except ActorUnavailableError:
            pass
        time.sleep(0.05)
    raise AssertionError("the board still lives")


def test_a_group_takes_one_step_after_another() -> None:
    board = Board.remote()

    def next_step() -> bytes | Directive:
        return ray.get(board.next_step.remote("group", ["node"]))

    assert ray.get(board.assign.remote("group", "one", b"1"))
    assert next_step() == b"1"
    assert next_step() == b"1"  # its workers were restarted
    ray.get(board.deliver.remote("one", "outcome"))
    assert ray.get(board.collect.remote("one")) == "outcome"
    assert next_step() is Directive.CONTINUE
    assert ray.get(board.assign.remote("group", "two", b"2"))
    ray.get(board.dismiss.remote("group"))
    assert next_step() == b"2"
    ray.get(board.deliver.remote("two", "outcome"))
    assert next_step() is Directive.STOP
    assert not ray.get(board.assign.remote("group", "three", b"3"))


def test_losses_are_counted_for_the_step_that_a_group_leaves() -> None:
    board = Board.remote()
    ray.get(board.assign.remote("group", "one", b"1"))
    for _ in range(3):
        ray.get(board.next_step.remote("group", ["node"]))
    ray.get(board.deliver.remote("one", "outcome"))
    ray.get(board.assign.remote("group", "two", b"2"))
    for _ in range(2):
        ray.get(board.next_step.remote("group", ["node"]))
    assert ray.get(board.forget_group.remote("group")) == 2
    assert ray.get(board.next_step.remote("group", ["node"])) is Directive.STOP


def test_an_idle_group_ends_once_other_work_waits() -> None:
    board = Board.remote()
    ray.get(board.assign.remote("group", "one", b"1"))
    ray.get(board.deliver.remote("one", "outcome"))
    blocker = Sleeper.remote()
    ray.get(blocker.ready.remote())
    assert ray.get(board.next_step.remote("group", ["node"])) is Directive.CONTINUE
    waiting = Sleeper.remote()
    deadline = time.monotonic() + 9  # before it would end without reason
    while ray.get(board.next_step.remote("group", ["node"])) is Directive.CONTINUE:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ray.kill(blocker)
    ray.get(waiting.ready.remote())
    ray.kill(waiting)


@ray.remote(num_cpus=1)
class Sleeper:
    """Holds a CPU."""

    def ready(self) -> None:
        """Wait until it has it."""
