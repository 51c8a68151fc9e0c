"""Checkpoints that are stored beside the training, which goes on meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from typing import Protocol

from torch import Tensor


class Checkpoints(Protocol):
    """Storage for the checkpoints of a run."""

    @property
    def seconds_between(self) -> float:
        """Seconds between two checkpoints."""
        ...

    @property
    def at_end(self) -> bool:
        """Whether to save a checkpoint of the finished run, too."""
        ...

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The newest checkpoint: tensors and metadata."""
        ...

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Store a checkpoint; called in another thread than the training's."""
        ...


class Beside:
    """Stores checkpoints in a thread, one at a time and in their order.

    Args:
        checkpoints: where they are stored.
        executor: of one thread, which ends with the run.
    """

    def __init__(self, checkpoints: Checkpoints, executor: Executor) -> None:
        self._checkpoints = checkpoints
        self._executor = executor
        self._under_way: Future[float] | None = None

    @property
    def seconds_between(self) -> float:
        """Seconds between two checkpoints."""
        return self._checkpoints.seconds_between

    @property
    def at_end(self) -> bool:
        """Whether to save a checkpoint of the finished run, too."""
        return self._checkpoints.at_end

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Begin to store a copy of a checkpoint; call `finish` before.

        Args:
            iteration: of the checkpoint.
            tensors: on any device; they may change from now on.
            metadata: stored with them.
        """
        assert self._under_way is None, "one at a time: each holds a copy of all tensors"
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        self._under_way = self._executor.submit(self._store, iteration, copies, metadata)

    def finish(self) -> float:
        """Wait until the last checkpoint is stored.

        Returns:
            CPU seconds that storing it took in its thread; 0 if there was none.

        Raises:
            StoreError: it could not be stored.
        """
        under_way, self._under_way = self._under_way, None
        return 0.0 if under_way is None else under_way.result()

    def _store(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> float:
        started = time.thread_time()
        self._checkpoints.save(iteration, tensors, metadata)
        return time.thread_time() - started
