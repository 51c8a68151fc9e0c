"""`Board`: where workers say how far they are, and learn that they should stop."""

from __future__ import annotations

from typing import Any

import ray

from unlearn_ray.core.errors import StopRequested
from unlearn_ray.engine.loop import Progress


@ray.remote(num_cpus=0, max_concurrency=16)
class Board:
    """One small actor per sweep, beside the driver."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._delivered: dict[str, Any] = {}
        self._stopping = False

    def tell(self, key: str, progress: Progress) -> bool:
        """Note how far a step is; answers whether it should stop."""
        # What is done is dropped: a long sweep's trials would pile up here.
        if progress.iteration < progress.iterations:
            self._progress[key] = progress
        else:
            self._progress.pop(key, None)
        return self._stopping

    def deliver(self, key: str, outcome: Any) -> None:
        """Leave what a training step made, or the error that ended it."""
        self._progress.pop(key, None)
        self._delivered[key] = outcome

    def collect(self, key: str) -> Any:
        """What was left under `key`, once."""
        return self._delivered.pop(key, None)

    def progress(self) -> dict[str, Progress]:
        """How far every running step is."""
        return dict(self._progress)

    def stop(self) -> None:
        """Ask every step to save a checkpoint and end."""
        self._stopping = True


class BoardReporter:
    """The `on_progress` of a worker's runtime."""

    def __init__(self, board: Any) -> None:
        self.board = board

    def __call__(self, key: str, name: str, progress: Progress) -> None:
        """Tell the board.

        Raises:
            StopRequested: the sweep is being stopped.
        """
        try:
            stopping = ray.get(self.board.tell.remote(key, progress), timeout=5)
        except ray.exceptions.GetTimeoutError:
            return
        if stopping:
            raise StopRequested(name, "the sweep is being stopped", "run it again to go on")
