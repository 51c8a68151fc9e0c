"""Loggers: Tune's callbacks, which log each trial as a run with one step per tuning seed.

They log the study's name, the trial's number and hyperparameters; after each seed the mean score so
far, and each metric's value and gap under that seed. TensorBoard and MLflow also show the loss
curve of each seed's unlearning, by iteration; W&B, whose steps only increase, counts seeds alone.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.air.integrations.wandb import WandbLoggerCallback
from ray.tune.logger import LoggerCallback, TBXLoggerCallback
from ray.tune.result import TRAINING_ITERATION
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, StepFailed, UnlearnRayError
from unlearn_ray.loggers.base import Logger
from unlearn_ray.loggers.mlflow import MLflow
from unlearn_ray.loggers.tensorboard import TensorBoard
from unlearn_ray.loggers.wandb import WeightsAndBiases
from unlearn_ray.scheduling.search import CURVE, METRIC, SEEDS_RUN, SHOWN

# Of MLflow's batches.
_MOST_POINTS = 1000


def check_loggers(sweep: Sweep) -> None:
    """Fail now on what would otherwise end the sweep after its first models are trained.

    Raises:
        BadInput: a package is missing, or its destination cannot be used.
    """
    for logger in sweep.log:
        if importlib.util.find_spec(logger.package) is None:
            remedy = f'pip install "unlearn_ray[{logger.name}]", or leave the logger out'
            reason = f"the package {logger.package} is not installed"
            raise BadInput(f"log = {logger.name}", reason, remedy)
        try:
            _callback(logger, sweep.name).setup()
        except StepFailed as error:
            raise BadInput(error.subject, error.reason, error.remedy) from error


def callbacks(sweep: Sweep) -> list[LoggerCallback]:
    """The callbacks for one of Tune's runs."""
    return [_callback(logger, sweep.name) for logger in sweep.log]


def _callback(logger: Logger, sweep: str) -> LoggerCallback:
    match logger:
        case TensorBoard():
            return _EventFiles(Path(logger.folder) / sweep)
        case MLflow():
            return _MLflowRuns(
                logger.tracking_uri,
                experiment_name=logger.experiment or sweep,
                tags={"sweep": sweep},
            )
        case WeightsAndBiases():
            return _WandbRuns(
                project=logger.project or sweep,
                entity=logger.entity,
                group=sweep,
                dir=str(Path.cwd()),
            )
    raise AssertionError(f"no callback for {logger.name}")


class _NamedLogger(LoggerCallback):  # type: ignore[misc]
    """Leaves out what Tune adds to results, and names the logger that failed."""

    name: str

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn any exception of a logger's package into an error that names the logger."""
        try:
            yield
        except UnlearnRayError:
            raise
        except Exception as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            remedy = "fix that, or leave the logger out, and run the sweep again"
            raise StepFailed(f"log = {self.name}", reason, remedy) from error

    def setup(self, *arguments: Any, **options: Any) -> None:
        """Called at the start of each of Tune's runs."""
        with self._named():
            super().setup(*arguments, **options)

    def log_trial_start(self, trial: Any) -> None:
        """Open the trial's run."""
        with self._named():
            super().log_trial_start(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log one seed."""
        ours = {TRAINING_ITERATION, METRIC, SEEDS_RUN}
        shown = {
            name: value for name, value in result.items() if name in ours or name.startswith(SHOWN)
        }
        with self._named():
            super().log_trial_result(iteration, trial, shown)
            self.log_points(trial, result.get(CURVE, ()))

    def log_points(self, trial: Any, points: Sequence[tuple[str, float, int]]) -> None:
        """Log the seed's loss curves: names, values and iterations."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close the trial's run."""
        with self._named():
            super().log_trial_end(trial, failed)


class _EventFiles(_NamedLogger, TBXLoggerCallback):  # type: ignore[misc]
    """TensorBoard's files in the configured folder; Tune's callback uses a temporary one."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder.absolute()

    def setup(self, *arguments: Any, **options: Any) -> None:
        """Make the folder."""
        with self._named():
            self._folder.mkdir(parents=True, exist_ok=True)

    def log_trial_start(self, trial: Any) -> None:
        """Open the trial's file."""
        with self._named():
            if trial in self._trial_writer:  # its worker was lost
                self._trial_writer[trial].close()
            folder = str(self._folder / str(trial))
            self._trial_writer[trial] = self._summary_writer_cls(folder, flush_secs=30)
            self._trial_result[trial] = {}

    def log_points(self, trial: Any, points: Sequence[tuple[str, float, int]]) -> None:
        """A scalar for each point."""
        for name, value, iteration in points:
            self._trial_writer[trial].add_scalar(f"ray/tune/{name}", value, global_step=iteration)
        self._trial_writer[trial].flush()


class _MLflowRuns(_NamedLogger, MLflowLoggerCallback):  # type: ignore[misc]
    name = "mlflow"

    def log_points(self, trial: Any, points: Sequence[tuple[str, float, int]]) -> None:
        """A metric for each curve, with its iterations as steps."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        now, client = int(time.time() * 1000), MlflowClient(self.tracking_uri)
        metrics = [Metric(name, value, now, iteration) for name, value, iteration in points]
        for start in range(0, len(metrics), _MOST_POINTS):
            client.log_batch(self._trial_runs[trial], metrics[start : start + _MOST_POINTS])


class _WandbRuns(_NamedLogger, WandbLoggerCallback):  # type: ignore[misc]
    name = "wandb"

    def log_trial_start(self, trial: Any) -> None:
        """Open the trial's run in a separate process on the driver's node."""
        # Tune would pass the key in a runtime environment, and Ray writes those to its logs. The
        # process inherits the environment of the driver's node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._remote_logger_class = ray.remote(
            num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
        )(self._logger_actor_cls)
        super().log_trial_start(trial)
