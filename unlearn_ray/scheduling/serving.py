"""What Ray Train's workers run: the steps that the board gives to their group."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any, cast

import ray
import torch
from ray import cloudpickle
from ray.exceptions import RayActorError

from unlearn_ray.core.collective import gather_objects, on_every, on_first, rank, world_size
from unlearn_ray.core.errors import MachineError, ProgramError, UnlearnRayError, WorkerLeaving
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.board import Directive
from unlearn_ray.scheduling.worker import WorkerConfig, here
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import run_here

_POLL_SECONDS = 0.1


def serve(config: dict[str, Any]) -> None:
    """The training function of each Ray Train worker: runs its group's steps."""
    nodes = gather_objects(here())
    worker = _Worker(config["name"], config["worker_config"], config["board"], nodes)
    if rank() > 0:
        # Worker 0 polls the board throughout, and notices its own SIGTERM.
        threading.Thread(target=worker.pass_on, daemon=True).start()
    while (pickled := on_first(worker.next_step)) is not None:
        worker.run(cloudpickle.loads(pickled))
        gc.collect()
        torch.cuda.empty_cache()


class _Worker:
    """One worker of a group.

    Args:
        group: its name.
        config: of the worker.
        board: the sweep's.
        nodes: ids of the nodes of all workers.
    """

    def __init__(self, group: str, config: WorkerConfig, board: Any, nodes: list[str]) -> None:
        self._group = group
        self._config = config
        self._board = board
        self._nodes = nodes
        self._key = ""

    def next_step(self) -> bytes | None:
        """Wait for the group's next step; None to end."""
        while True:
            try:
                # Not ray.get, as in `board._answer`.
                told = self._board.next_step.remote(self._group, self._nodes).future().result()
            except RayActorError:
                return None  # the sweep is gone
            if told is not Directive.CONTINUE:
                return None if told is Directive.STOP else cast(bytes, told)
            time.sleep(_POLL_SECONDS)

    def run(self, step: Step) -> None:
        """Run a step, and deliver its outcome."""
        self._key = step.key
        try:
            with notice.at_work():
                runtime = on_every(lambda: self._config.runtime(self._board, self._nodes))
                outcome: Any = run_here(step, runtime)
        except WorkerLeaving:
            raise  # Ray Train restarts the workers where there is room for them
        except (ProgramError, MachineError) as error:
            # A retry would fail again. The other workers may wait for this one, which need not be
            # the first: they end with it. The next step gets new processes.
            ray.get(self._board.dismiss.remote(self._group))
            ray.get(self._board.deliver.remote(step.key, error))
            if world_size() > 1:
                raise
            return
        except UnlearnRayError as error:
            # As above; all workers are here, as `core.collective` makes them fail together.
            outcome = error
        if rank() == 0:
            ray.get(self._board.deliver.remote(step.key, outcome))

    def pass_on(self) -> None:
        """Tell the board of this process's SIGTERM."""
        notice.wait()
        ray.get(self._board.leave.remote(self._key))
