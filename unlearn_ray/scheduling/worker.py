"""`WorkerConfig`: what a worker needs to open its own runtime."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.registry import Part
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.board import BoardReporter
from unlearn_ray.scheduling.own_code import parts_of
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import open_store
from unlearn_ray.train.compute import Compute

_RUNTIMES: dict[WorkerConfig, Runtime] = {}


@dataclass(frozen=True)
class WorkerConfig:
    """The sweep's store and settings, small enough to send to every worker.

    Attributes:
        store: URL; credentials are each machine's own.
        checkpoint_seconds: the interval between checkpoints.
        threads: OpenMP threads per worker.
        gpu: GPUs per worker. One that requested none computes on the CPU, even where Ray leaves
            GPUs visible that belong to others.
        identity: the store's permanent name.
        code: the sweep's parts from outside the package, with digests of their code.
        deterministic: whether GPUs repeat every digit.
        graphs: whether GPUs replay iterations as CUDA graphs.
    """

    store: str
    checkpoint_seconds: float
    threads: int
    gpu: float
    identity: str
    code: tuple[tuple[type[Part], str], ...] = ()
    deterministic: bool = False
    graphs: bool = False

    def runtime(self, board: Any, nodes: Sequence[str] | None = None) -> Runtime:
        """This process's runtime, created on the first call and kept for later steps.

        Args:
            board: the sweep's.
            nodes: ids of the nodes whose workers share a step; only this one if not given.

        Raises:
            StoreUnreachable: the store's URL does not mean the driver's store on this machine.
            BadInput: a part's code in this process differs from the driver's.
        """
        if self not in _RUNTIMES:
            self._check_code()
            store = open_store(self.store, known=True)  # the driver has reached it
            store.check_identity(self.identity)
            _RUNTIMES[self] = Runtime(
                store=store,
                compute=self._compute(),
                checkpoint_seconds=self.checkpoint_seconds,
                must_end=notice.given,
            )
        runtime = _RUNTIMES[self]
        reporter = BoardReporter(board, nodes or [here()])
        runtime.on_progress, runtime.around = reporter, reporter.running
        return runtime

    def _compute(self) -> Compute:
        if not self.gpu:
            return Compute.cpu(self.threads)
        return Compute.gpu(
            self.threads, share=min(1.0, self.gpu), deterministic=self.deterministic,
            graphs=self.graphs,
        )  # fmt: skip

    def _check_code(self) -> None:
        for part, code in self.code:
            if part.code != code:
                raise BadInput(
                    f"{part.kind} {part.name}",
                    f"its code on {socket.gethostname()} differs from the driver's",
                    "put the same files on every node, and start the sweep again",
                )


def code_of(sweep: Sweep) -> tuple[tuple[type[Part], str], ...]:
    """The parts of a sweep from outside the package, with digests of their code."""
    return tuple((part, part.code) for part in parts_of(sweep))


def here() -> str:
    """The id of this process's node."""
    return str(ray.get_runtime_context().get_node_id())
