"""`Board`: where workers say how far they are, and learn that they should save or stop."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any

import ray

from unlearn_ray.core.errors import StopRequested, WorkerLeaving
from unlearn_ray.engine.loop import Progress
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.capacity import draining_nodes

# While a worker's node is drained, it saves this often, until the node is gone.
DRAINED_SAVE_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class Wish(Enum):
    """What the board answers."""

    GO_ON = "go on"
    SAVE = "save"
    STOP = "stop"
    LEAVE = "leave"


@ray.remote(num_cpus=0, max_concurrency=16)
class Board:
    """One small actor per sweep, beside the driver."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._delivered: dict[str, Any] = {}
        self._stopping = False
        self._draining: frozenset[str] = frozenset()
        self._looked_at = 0.0
        self._saved_at: dict[str, float] = {}
        self._leaving: set[str] = set()

    def tell(self, key: str, progress: Progress, nodes: Sequence[str]) -> Wish:
        """Note how far a step is; answers what its workers, on these nodes, should do."""
        # What is done is dropped: a long sweep's trials would pile up here.
        if progress.iteration < progress.iterations:
            self._progress[key] = progress
        else:
            self._forget(key)
        if self._stopping:
            return Wish.STOP
        if key in self._leaving:
            self._leaving.remove(key)
            return Wish.LEAVE
        return Wish.SAVE if self._must_save(key, nodes) else Wish.GO_ON

    def deliver(self, key: str, outcome: Any) -> None:
        """Leave what a training step made, or the error that ended it."""
        self._forget(key)
        self._delivered[key] = outcome

    def collect(self, key: str) -> Any:
        """What was left under `key`, once."""
        return self._delivered.pop(key, None)

    def progress(self) -> dict[str, Progress]:
        """How far every running step is."""
        return dict(self._progress)

    def leave(self, key: str) -> None:
        """Ask a step's workers to save a checkpoint and end: one of them was sent SIGTERM."""
        self._leaving.add(key)

    def stop(self) -> None:
        """Ask every step to save a checkpoint and end."""
        self._stopping = True

    def _forget(self, key: str) -> None:
        self._progress.pop(key, None)
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
    """The `on_progress` of a worker's runtime.

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
        try:
            # Not ray.get: a task that waits in it lends its CPUs to another.
            wish = self.board.tell.remote(key, progress, self.nodes).future().result(timeout=5)
        except TimeoutError:
            return False
        if wish is Wish.STOP:
            raise StopRequested(name, "the sweep is being stopped", "run it again to go on")
        if wish is Wish.LEAVE:
            raise _leaving(name)
        return bool(wish is Wish.SAVE)


def _leaving(name: str) -> WorkerLeaving:
    reason = f"a worker was told to end (seen on {socket.gethostname()})"
    return WorkerLeaving(name, reason, "it goes on elsewhere from its checkpoint")
