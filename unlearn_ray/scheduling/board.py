"""`Board`: where workers say how far they are, and learn that they should save or stop."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from unlearn_ray.core.errors import StopRequested, WorkerLeaving
from unlearn_ray.reporting.progress import Heard
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.ray_private import draining_nodes
from unlearn_ray.train.loop import Progress

# While a worker's node is drained, it saves this often, until the node is gone.
DRAINED_SAVE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# A worker that was killed says no more, and neither does a metric that takes its time.
SILENT_SECONDS = 600.0


class Directive(Enum):
    """What the board answers."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"
    STOP = "stop"
    MIGRATE = "migrate"


@dataclass(frozen=True)
class Told:
    """What a worker said last: of which step, in words, and how far it is.

    Attributes:
        times: how often the step was begun, so far as nobody said that it ended.
    """

    name: str
    progress: Progress
    times: int = 1

    def heard(self) -> Heard:
        """The same, for the driver's view."""
        one = self.progress
        epoch = f"epoch {one.epoch} of {one.epochs}" if one.epochs > 1 else ""
        share = one.iteration / one.iterations if one.iterations else None
        return Heard(self.name, one.doing or epoch, share, self.times)


@ray.remote(num_cpus=0, max_concurrency=16)
class Board:
    """One small actor per sweep, beside the driver."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Told, float]] = {}
        self._delivered: dict[str, Any] = {}
        self._stopping = False
        self._draining: frozenset[str] = frozenset()
        self._looked_at = 0.0
        self._saved_at: dict[str, float] = {}
        self._leaving: set[str] = set()

    def tell(self, key: str, told: Told, nodes: Sequence[str]) -> Directive:
        """Note how far a step is; answers what its workers, on these nodes, should do."""
        before = self._told.get(key)
        times = 1 if before is None else before[0].times
        self._told[key] = (replace(told, times=times), time.monotonic())
        if self._stopping:
            return Directive.STOP
        if key in self._leaving:
            self._leaving.remove(key)
            return Directive.MIGRATE
        return Directive.CHECKPOINT if self._must_save(key, nodes) else Directive.CONTINUE

    def deliver(self, key: str, outcome: Any) -> None:
        """Leave what a training step made, or the error that ended it."""
        self._forget(key)
        self._delivered[key] = outcome

    def has_outcome(self, key: str) -> bool:
        """Whether something was left under `key` that nobody has collected."""
        return key in self._delivered

    def collect(self, key: str) -> Any:
        """What was left under `key`, once."""
        return self._delivered.pop(key, None)

    def begun(self, key: str, told: Told) -> None:
        """A step runs now; again, if the worker that ran it was lost."""
        before = self._told.get(key)
        times = 1 if before is None else before[0].times + 1
        self._told[key] = (replace(told, times=times), time.monotonic())

    def ended(self, key: str) -> None:
        """A step runs no more where it ran; a long sweep's trials would pile up here."""
        self._forget(key)

    def told(self) -> dict[str, Told]:
        """How far every running step is."""
        since = time.monotonic() - SILENT_SECONDS
        for key in [key for key, (_, at) in self._told.items() if at < since]:
            self._forget(key)
        return {key: told for key, (told, _) in self._told.items()}

    def leave(self, key: str) -> None:
        """Ask a step's workers to save a checkpoint and end: one of them was sent SIGTERM."""
        self._leaving.add(key)

    def stop(self) -> None:
        """Ask every step to save a checkpoint and end."""
        self._stopping = True

    def _forget(self, key: str) -> None:
        self._told.pop(key, None)
        self._saved_at.pop(key, None)
        self._leaving.discard(key)

    def _must_save(self, key: str, nodes: Sequence[str]) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._draining = draining_nodes()
        if self._draining.isdisjoint(nodes):
            return False
        if now - self._saved_at.get(key, -DRAINED_SAVE_SECONDS) < DRAINED_SAVE_SECONDS:
            return False
        self._saved_at[key] = now
        return True


class BoardReporter:
    """The `on_progress` of a worker's runtime; `running` is its `around`.

    Args:
        board: of the sweep.
        nodes: where the workers are that share the step.
    """

    def __init__(self, board: Any, nodes: Sequence[str]) -> None:
        self.board = board
        self.nodes = nodes

    def __call__(self, key: str, name: str, progress: Progress) -> bool:
        """Tell the board; answers whether to save a checkpoint now.

        Raises:
            StopRequested: the sweep is being stopped.
            WorkerLeaving: this process or another of the step's workers was sent SIGTERM.
        """
        if notice.given():
            raise _leaving(name)
        wish = _answer(self.board.tell.remote(key, Told(name, progress), self.nodes), name)
        if wish is Directive.STOP:
            raise StopRequested(name, "the sweep is being stopped", "run it again to go on")
        if wish is Directive.MIGRATE:
            raise _leaving(name)
        return bool(wish is Directive.CHECKPOINT)

    @contextmanager
    def running(self, key: str, name: str) -> Iterator[None]:
        """The board knows of the step while the block runs it."""
        told = Told(name, Progress(0, 0, math.nan, 0.0, doing="starting"))
        # Answered before anything else is said of the step, which could overtake it.
        _answer(self.board.begun.remote(key, told), name)
        try:
            yield
        finally:
            self.board.ended.remote(key)


def _answer(sent: Any, step: str) -> Any:
    """What the board answers; None if it has no time.

    Raises:
        StopRequested: it is gone.
    """
    try:
        # Not ray.get: a task that waits in it lends its CPUs to another.
        return sent.future().result(timeout=5)
    except (TimeoutError, ActorUnavailableError):
        return None
    except RayActorError as error:
        reason = "the sweep that it belongs to is gone"
        raise StopRequested(step, reason, "run it again to go on") from error


def _leaving(name: str) -> WorkerLeaving:
    reason = f"a worker was told to end (seen on {socket.gethostname()})"
    return WorkerLeaving(name, reason, "it goes on elsewhere from its checkpoint")
