"""`Workplace`: what a worker needs to know to open its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unlearn_ray.engine.compute import Compute
from unlearn_ray.pipeline.runtime import Runtime
from unlearn_ray.scheduling.board import BoardReporter
from unlearn_ray.storage.store import open_store

_RUNTIMES: dict[tuple[str, float], Runtime] = {}


@dataclass(frozen=True)
class Workplace:
    """The sweep's store and habits, small enough to send everywhere.

    Attributes:
        store: URL; credentials are each machine's own.
        checkpoint_seconds: how often training saves.
    """

    store: str
    checkpoint_seconds: float

    def runtime(self, board: Any) -> Runtime:
        """This process's runtime, made on the first call and kept for the next step."""
        key = (self.store, self.checkpoint_seconds)
        if key not in _RUNTIMES:
            _RUNTIMES[key] = Runtime(
                store=open_store(self.store),
                compute=Compute.detect(),
                checkpoint_seconds=self.checkpoint_seconds,
            )
        runtime = _RUNTIMES[key]
        runtime.on_progress = BoardReporter(board)
        return runtime
