"""`Workplace`: what a worker needs to know to open its own runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from unlearn_ray.engine.compute import Compute
from unlearn_ray.pipeline.runtime import Runtime
from unlearn_ray.scheduling.board import BoardReporter
from unlearn_ray.storage.store import open_store

_RUNTIMES: dict[Workplace, Runtime] = {}


@dataclass(frozen=True)
class Workplace:
    """The sweep's store and habits, small enough to send everywhere.

    Attributes:
        store: URL; credentials are each machine's own.
        checkpoint_seconds: how often training saves.
        threads: OpenMP threads of each worker.
        identity: of the store.
    """

    store: str
    checkpoint_seconds: float
    threads: int
    identity: str

    def runtime(self, board: Any, nodes: Sequence[str] | None = None) -> Runtime:
        """This process's runtime, made on the first call and kept for the next step.

        Args:
            board: of the sweep.
            nodes: ids of the nodes whose workers share what is run; this one alone if not given.

        Raises:
            StoreUnreachable: what this machine calls the store is not the driver's.
        """
        if self not in _RUNTIMES:
            store = open_store(self.store, known=True)  # the driver has asked it
            store.check_identity(self.identity)
            _RUNTIMES[self] = Runtime(
                store=store,
                compute=Compute.detect(self.threads),
                checkpoint_seconds=self.checkpoint_seconds,
            )
        runtime = _RUNTIMES[self]
        runtime.on_progress = BoardReporter(board, nodes or [here()])
        return runtime


def here() -> str:
    """The id of this process's node."""
    return str(ray.get_runtime_context().get_node_id())
