"""Training steps under Ray Train: workers, restarts after a lost one, checkpoints in the store."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import (
    ControllerError,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchConfig, TorchTrainer

from unlearn_ray.config.sweep_schema import Resources
from unlearn_ray.core.boundary import one_line
from unlearn_ray.core.collective import gather_objects, on_every, rank, world_size
from unlearn_ray.core.errors import (
    MachineError,
    ProgramError,
    StepFailed,
    UnlearnRayError,
    WorkerLeaving,
    WorkersLost,
)
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.ray_private import TorchBackend
from unlearn_ray.scheduling.worker import WorkerConfig, here
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import Uploaded, run_here


def run_under_ray_train(
    step: Step, worker_config: WorkerConfig, resources: Resources, board: Any
) -> Uploaded:
    """Run a training step on Ray Train workers.

    A lost worker or node is replaced, or done without where the group is elastic; all workers
    then go on from the step's last checkpoint in the store.

    Raises:
        UnlearnRayError: what ended the step in the worker.
        WorkersLost: they were lost more often than they may be.
    """
    left = resources.retries
    lost: WorkersLost | None = None
    while True:
        try:
            _fit(step, worker_config, resources, board)
        except ControllerError as error:
            # Of a worker that dies while its work is launched, Ray Train makes its own failure.
            if isinstance(error.controller_failure, RayActorError) and left > 0:
                left -= 1
                continue
            lost = _failed(step, error)
        except TrainingFailedError as error:
            lost = _failed(step, error)
        break
    outcome = ray.get(board.collect.remote(step.key))
    if isinstance(outcome, UnlearnRayError):
        raise outcome
    if lost is not None:
        raise lost
    if outcome is None:
        raise StepFailed(f"{step}", "its workers left nothing", "see the cluster's logs")
    assert isinstance(outcome, Uploaded)
    return outcome


def _fit(step: Step, worker_config: WorkerConfig, resources: Resources, board: Any) -> None:
    # Ray Train's own folder stays empty: nothing is reported to it.
    with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as folder:
        TorchTrainer(
            _work,
            train_loop_config={"step": step, "worker_config": worker_config, "board": board},
            torch_config=_SignalTorchConfig(),
            scaling_config=_scaling(resources),
            run_config=RunConfig(
                name=step.key,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=resources.retries),
            ),
        ).fit()


def _failed(step: Step, error: TrainingFailedError) -> WorkersLost:
    told = one_line(str(error)).partition(". ")[0][:200]
    return WorkersLost(
        f"{step}", f"its workers failed: {told}", "see the cluster's logs; run again"
    )


def _scaling(resources: Resources) -> ScalingConfig:
    fewest, most = resources.fewest_workers, resources.most_workers
    each = {"CPU": resources.cpu} | ({"GPU": resources.gpu} if resources.gpu else {})
    return ScalingConfig(
        num_workers=most if fewest == most else (fewest, most),
        use_gpu=resources.gpu > 0,
        resources_per_worker=each,
    )


@dataclass
class _SignalTorchConfig(TorchConfig):  # type: ignore[misc]
    """Ray's own, whose workers heed SIGTERM."""

    @property
    def backend_cls(self) -> type:
        """Ray calls it a backend: what prepares the workers."""
        return _SignalBackend


class _SignalBackend(TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Runs in the workers' main threads, where alone signals can be handled."""
        super().on_start(worker_group, backend_config)
        worker_group.execute(notice.install_handler)


def _work(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    step: Step = config["step"]
    board = config["board"]
    nodes = gather_objects(here())
    if rank() > 0:
        # Worker 0 asks the board all along, and hears of its own notice by itself.
        threading.Thread(target=_pass_on, args=(step.key, board), daemon=True).start()
    if ray.get(board.has_outcome.remote(step.key)):
        return  # a worker's code ended the step; Ray Train has started the group again
    try:
        with notice.at_work():
            runtime = on_every(lambda: config["worker_config"].runtime(board, nodes))
            outcome: Any = run_here(step, runtime)
    except WorkerLeaving:
        raise  # Ray Train starts the workers again, where there is room for them
    except (ProgramError, MachineError) as error:
        # Trying again would only fail again. The others may wait for this worker, which may not
        # be the first: they end with it.
        ray.get(board.deliver.remote(step.key, error))
        if world_size() > 1:
            raise
        return
    except UnlearnRayError as error:
        # As before; and all workers are here: `core.collective` has them fail together.
        outcome = error
    if ray.train.get_context().get_world_rank() == 0:
        ray.get(board.deliver.remote(step.key, outcome))


def _pass_on(key: str, board: Any) -> None:
    notice.wait()
    ray.get(board.leave.remote(key))
