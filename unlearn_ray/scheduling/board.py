"""`Board`: where workers report progress, and learn that they should save or stop."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from unlearn_ray.core.errors import StopRequested, WorkerLeaving
from unlearn_ray.reporting.progress import Heard
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.ray_private import draining_nodes, work_waits
from unlearn_ray.train.loop import Progress

if TYPE_CHECKING:  # the actor needs none of what it imports
    from unlearn_ray.studies.rows import Scalar

# While a worker's node is drained, it saves a checkpoint this often, until the node is gone.
DRAINED_SAVE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# A killed worker no longer reports, and neither does a slow metric.
SILENT_SECONDS = 600.0
# A worker group without a step keeps its resources this long, or for a moment, in which the driver
# gives it the next one, if other work waits for resources. A new group costs some 10 CPU seconds,
# so one that has lived less than `YOUNG_SECONDS` takes its next step although other work waits.
IDLE_SECONDS = 10.0
MOMENT_SECONDS = 3.0
YOUNG_SECONDS = 60.0


class Directive(Enum):
    """What the board tells a worker to do."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"
    STOP = "stop"
    MIGRATE = "migrate"


@dataclass
class Group:
    """A worker group, from its first step until its process forgets it.

    Attributes:
        key: of its step; none while it is idle.
        step: pickled: this actor does not import what a step is made of.
        begins: how often its workers have asked for this step: more than once if some were lost.
        idle_since: when its last step ended.
        began: when its first step was assigned.
        dismissed: whether it takes no further step.
    """

    key: str | None
    step: bytes
    began: float
    idle_since: float = 0.0
    begins: int = 0
    dismissed: bool = False

    def should_end(self) -> bool:
        """Whether this idle group should release its resources."""
        now = time.monotonic()
        idle = now - self.idle_since
        if idle > IDLE_SECONDS:
            return True
        return (idle > MOMENT_SECONDS or now - self.began > YOUNG_SECONDS) and work_waits()


@dataclass(frozen=True)
class StepReport:
    """A worker's last report: the step, in words, and its progress.

    Attributes:
        times: how often the step was begun since it last ended.
    """

    name: str
    progress: Progress
    times: int = 1

    def heard(self) -> Heard:
        """The report, for the driver's view."""
        one = self.progress
        epoch = f"epoch {one.epoch} of {one.epochs}" if one.epochs > 1 else ""
        share = one.iteration / one.iterations if one.iterations else None
        return Heard(self.name, one.doing or epoch, share, self.times)


@ray.remote(num_cpus=0, max_concurrency=16)
class Board:
    """One small actor per sweep, on the driver's node."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[StepReport, float]] = {}
        self._delivered: dict[str, Any] = {}
        self._stopping = False
        self._draining: frozenset[str] = frozenset()
        self._looked_at = 0.0
        self._saved_at: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._groups: dict[str, Group] = {}
        self._rows: dict[str, dict[str, Scalar]] = {}
        self._lock = threading.Lock()

    def wrote(self, name: str, row: dict[str, Scalar]) -> None:
        """Keep a row as a trial wrote it: the driver merges it without reading it again."""
        self._rows[name] = row

    def written(self, names: Sequence[str]) -> dict[str, dict[str, Scalar]]:
        """Take those of these rows that are known here, once."""
        return {name: self._rows.pop(name) for name in names if name in self._rows}

    def tell(self, key: str, report: StepReport, nodes: Sequence[str]) -> Directive:
        """Note a step's progress; returns what its workers, on these nodes, should do."""
        before = self._reports.get(key)
        times = 1 if before is None else before[0].times
        self._reports[key] = (replace(report, times=times), time.monotonic())
        if self._stopping:
            return Directive.STOP
        if key in self._leaving:
            self._leaving.remove(key)
            return Directive.MIGRATE
        return Directive.CHECKPOINT if self._must_save(key, nodes) else Directive.CONTINUE

    def deliver(self, key: str, outcome: Any) -> None:
        """Store the outcome of a training step, or the error that ended it."""
        self._forget(key)
        self._delivered[key] = outcome
        with self._lock:
            for group in self._groups.values():
                if group.key == key:
                    group.key, group.step, group.idle_since = None, b"", time.monotonic()

    def collect(self, key: str) -> Any:
        """Take the outcome under `key`, once."""
        return self._delivered.pop(key, None)

    def assign(self, name: str, key: str, step: bytes) -> bool:
        """Give an idle worker group, or a new one, its next step; whether it takes it."""
        with self._lock:
            group = self._groups.setdefault(name, Group(key, step, time.monotonic()))
            if not group.dismissed:
                group.key, group.step, group.begins = key, step, 0
            return not group.dismissed

    def next_step(self, name: str, nodes: Sequence[str]) -> bytes | Directive:
        """A group's step, CONTINUE to ask again soon, or STOP to end.

        Workers that were restarted get the step that was interrupted. An idle group on a node that
        is drained ends.
        """
        drained = self._drained(nodes)
        with self._lock:
            group = self._groups.get(name)
            if group is None:
                return Directive.STOP
            if group.key is not None:
                group.begins += 1
                return group.step
            ends = self._stopping or drained or group.should_end()
            group.dismissed = group.dismissed or ends
            return Directive.STOP if group.dismissed else Directive.CONTINUE

    def dismiss(self, name: str) -> None:
        """Let a group end after its step."""
        with self._lock:
            if name in self._groups:
                self._groups[name].dismissed = True

    def forget_group(self, name: str) -> int:
        """Forget a group that has ended; returns how often it began the step that it leaves."""
        with self._lock:
            group = self._groups.pop(name, None)
            return 0 if group is None or group.key is None else group.begins

    def begun(self, key: str, report: StepReport) -> None:
        """A step runs now, or again after its worker was lost."""
        before = self._reports.get(key)
        times = 1 if before is None else before[0].times + 1
        self._reports[key] = (replace(report, times=times), time.monotonic())

    def ended(self, key: str) -> None:
        """Forget a step that no longer runs, so that a long sweep's trials do not pile up."""
        self._forget(key)

    def reports(self) -> dict[str, StepReport]:
        """The last report on every running step."""
        since = time.monotonic() - SILENT_SECONDS
        for key in [key for key, (_, at) in self._reports.items() if at < since]:
            self._forget(key)
        return {key: report for key, (report, _) in self._reports.items()}

    def leave(self, key: str) -> None:
        """Ask a step's workers to save a checkpoint and end, as one of them got SIGTERM."""
        self._leaving.add(key)

    def stop(self) -> None:
        """Ask every step to save a checkpoint and end."""
        self._stopping = True

    def _forget(self, key: str) -> None:
        self._reports.pop(key, None)
        self._saved_at.pop(key, None)
        self._leaving.discard(key)

    def _must_save(self, key: str, nodes: Sequence[str]) -> bool:
        if not self._drained(nodes):
            return False
        now = time.monotonic()
        if now - self._saved_at.get(key, -DRAINED_SAVE_SECONDS) < DRAINED_SAVE_SECONDS:
            return False
        self._saved_at[key] = now
        return True

    def _drained(self, nodes: Sequence[str]) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._draining = draining_nodes()
        return not self._draining.isdisjoint(nodes)


class BoardReporter:
    """The `on_progress` of a worker's runtime; `running` is its `around`.

    Args:
        board: the sweep's.
        nodes: the nodes of the workers that share the step.
    """

    def __init__(self, board: Any, nodes: Sequence[str]) -> None:
        self.board = board
        self.nodes = nodes

    def __call__(self, key: str, name: str, progress: Progress) -> bool:
        """Report to the board; returns whether to save a checkpoint now.

        Raises:
            StopRequested: the sweep is being stopped.
            WorkerLeaving: this process or another of the step's workers got SIGTERM.
        """
        if notice.given():
            raise _leaving(name)
        directive = _answer(
            self.board.tell.remote(key, StepReport(name, progress), self.nodes), name
        )
        if directive is Directive.STOP:
            raise StopRequested(name, "the sweep is being stopped", "run it again to resume")
        if directive is Directive.MIGRATE:
            raise _leaving(name)
        return bool(directive is Directive.CHECKPOINT)

    @contextmanager
    def running(self, key: str, name: str) -> Iterator[None]:
        """Announce the step on the board while the block runs."""
        report = StepReport(name, Progress(0, 0, math.nan, 0.0, doing="starting"))
        # Wait for the answer: a later report on the step could overtake this one.
        _answer(self.board.begun.remote(key, report), name)
        try:
            yield
        finally:
            self.board.ended.remote(key)


def _answer(sent: Any, step: str) -> Any:
    """The board's answer; None if it is too busy.

    Raises:
        StopRequested: the board is gone.
    """
    try:
        # Not ray.get: a task that waits in it releases its CPUs to another.
        return sent.future().result(timeout=5)
    except (TimeoutError, ActorUnavailableError):
        return None
    except RayActorError as error:
        reason = "the sweep that it belongs to is gone"
        raise StopRequested(step, reason, "run it again to resume") from error


def _leaving(name: str) -> WorkerLeaving:
    reason = f"a worker got SIGTERM (reported by {socket.gethostname()})"
    return WorkerLeaving(name, reason, "the step resumes elsewhere from its checkpoint")
