"""Training steps under Ray Train: workers, restarts after a lost one, checkpoints in the store."""

from __future__ import annotations

import tempfile
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from unlearn_ray.core.collective import on_every
from unlearn_ray.core.errors import StepFailed, UnlearnRayError
from unlearn_ray.pipeline.once import Uploaded, run_here
from unlearn_ray.pipeline.steps import Step
from unlearn_ray.pipeline.sweep_schema import Resources
from unlearn_ray.scheduling.worker import Workplace

# A lost worker or node is replaced this often before the step counts as failed; the new worker
# goes on from the step's last checkpoint in the store.
WORKER_RESTARTS = 3


def run_under_ray_train(
    step: Step, workplace: Workplace, resources: Resources, board: Any
) -> Uploaded:
    """Run a training step on Ray Train workers.

    Raises:
        UnlearnRayError: what ended the step in the worker.
        StepFailed: the workers were lost more often than they may be.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"step": step, "workplace": workplace, "board": board},
            scaling_config=ScalingConfig(
                num_workers=(resources.fewest_workers, resources.most_workers)
                if resources.fewest_workers < resources.most_workers
                else resources.most_workers,
                use_gpu=resources.gpu > 0,
                resources_per_worker={"CPU": resources.cpu, "GPU": resources.gpu}
                if resources.gpu
                else {"CPU": resources.cpu},
            ),
            run_config=RunConfig(
                name=step.key,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except ray.train.v2.api.exceptions.TrainingFailedError as error:
            raise StepFailed(
                f"{step}", f"its workers failed: {error}", "see the cluster's logs; run again"
            ) from error
    outcome = ray.get(board.collect.remote(step.key))
    if isinstance(outcome, UnlearnRayError):
        raise outcome
    if outcome is None:
        raise StepFailed(f"{step}", "its workers left nothing", "see the cluster's logs")
    assert isinstance(outcome, Uploaded)
    return outcome


def _work(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    step: Step = config["step"]
    board = config["board"]
    try:
        runtime = on_every(lambda: config["workplace"].runtime(board))
        outcome: Any = run_here(step, runtime)
    except UnlearnRayError as error:
        # Trying again would only fail again; the error is the step's outcome. All workers are
        # here: `core.collective` has them fail together.
        outcome = error
    if ray.train.get_context().get_world_rank() == 0:
        ray.get(board.deliver.remote(step.key, outcome))
