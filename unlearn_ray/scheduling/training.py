"""Training steps under Ray Train: worker groups, restarts, checkpoints in the store."""

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

    A lost worker or node is replaced, or dropped if the group is elastic; all workers then resume
    from the step's last checkpoint in the store.

    Raises:
        UnlearnRayError: the error that ended the step in the worker.
        WorkersLost: they were lost more often than `retries` allows.
    """
    left = resources.retries
    lost: WorkersLost | None = None
    while True:
        try:
            _fit(step, worker_config, resources, board)
        except ControllerError as error:
            # If a worker dies during launch, Ray Train raises a failure of its own.
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
        raise StepFailed(f"{step}", "its workers left no result", "see the cluster's logs")
    assert isinstance(outcome, Uploaded)
    return outcome


def _fit(step: Step, worker_config: WorkerConfig, resources: Resources, board: Any) -> None:
    # Ray Train's own folder stays empty, as nothing is reported to it.
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
    reason = one_line(str(error)).partition(". ")[0][:200]
    return WorkersLost(
        f"{step}", f"its workers failed: {reason}", "see the cluster's logs; run again"
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
    """Ray's TorchConfig, with workers that handle SIGTERM."""

    @property
    def backend_cls(self) -> type:
        """The backend, which in Ray's terms prepares the workers."""
        return _SignalBackend


class _SignalBackend(TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Install the handler in the workers' main threads, as signals require."""
        super().on_start(worker_group, backend_config)
        worker_group.execute(notice.install_handler)


def _work(config: dict[str, Any]) -> None:
    """The training function of each Ray Train worker."""
    step: Step = config["step"]
    board = config["board"]
    nodes = gather_objects(here())
    if rank() > 0:
        # Worker 0 polls the board throughout, and notices its own SIGTERM.
        threading.Thread(target=_pass_on, args=(step.key, board), daemon=True).start()
    if ray.get(board.has_outcome.remote(step.key)):
        return  # a worker's code ended the step, but Ray Train has restarted the group
    try:
        with notice.at_work():
            runtime = on_every(lambda: config["worker_config"].runtime(board, nodes))
            outcome: Any = run_here(step, runtime)
    except WorkerLeaving:
        raise  # Ray Train restarts the workers where there is room for them
    except (ProgramError, MachineError) as error:
        # A retry would fail again. The other workers may wait for this one, which need not be the
        # first: they end with it.
        ray.get(board.deliver.remote(step.key, error))
        if world_size() > 1:
            raise
        return
    except UnlearnRayError as error:
        # As above; all workers are here, as `core.collective` makes them fail together.
        outcome = error
    if ray.train.get_context().get_world_rank() == 0:
        ray.get(board.deliver.remote(step.key, outcome))


def _pass_on(key: str, board: Any) -> None:
    notice.wait()
    ray.get(board.leave.remote(key))
