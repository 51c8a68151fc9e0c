"""Training steps under Ray Train: worker groups, restarts, checkpoints in the store.

Each group is one run of Ray Train, whose workers train one step after another.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
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
from unlearn_ray.core.errors import StepFailed, UnlearnRayError, WorkersLost
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.losses import memory_kill
from unlearn_ray.scheduling.placement import bundle, selector
from unlearn_ray.scheduling.ray_private import TorchBackend
from unlearn_ray.scheduling.serving import serve
from unlearn_ray.scheduling.worker import WorkerConfig
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import Uploaded

_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 0.5
# An idle group that was dismissed ends within two seconds, on a machine that is not busy.
_ENDING_SECONDS = 10.0


def run_under_ray_train(
    step: Step, worker_config: WorkerConfig, resources: Resources, board: Any
) -> Uploaded:
    """Run a training step on Ray Train workers: an idle group of this process's, or a new one.

    A lost worker or node is replaced, or dropped if the group is elastic; all workers then resume
    from the step's last checkpoint in the store.

    Raises:
        UnlearnRayError: the error that ended the step in the worker.
        WorkersLost: they were lost more often than `retries` allows.
    """
    return _groups(worker_config, resources, board).run(step)


# Of this process, by what their workers have and where their steps come from.
_GROUPS: dict[tuple[WorkerConfig, str, Any], _Groups] = {}
_making = threading.Lock()


def _groups(worker_config: WorkerConfig, resources: Resources, board: Any) -> _Groups:
    with _making:
        key = (worker_config, repr(resources), board)
        return _GROUPS.setdefault(key, _Groups(worker_config, resources, board))


def end_groups(board: Any) -> None:
    """Let this process's groups of a sweep end, and wait for that, but not for long.

    Whoever shuts Ray down calls it first: Ray ends a process that still waits for a group then.
    """
    with _making:
        ending = [_GROUPS.pop(key) for key in [*_GROUPS] if key[2] == board]
    deadline = time.monotonic() + _ENDING_SECONDS
    for groups in ending:
        groups.dismiss()
    for groups in ending:
        groups.join(deadline)


class _Groups:
    """Worker groups with equal resources; each runs one step at a time.

    Starting a group takes a controller, its helpers and the workers, all of them new processes
    with their imports, so a group that has ended a step waits a moment for the next one.
    """

    def __init__(self, worker_config: WorkerConfig, resources: Resources, board: Any) -> None:
        self._worker_config = worker_config
        self._resources = resources
        self._board = board
        self._started: list[_Group] = []
        # The group that was used last comes first: the others may end.
        self._idle: list[_Group] = []
        self._lock = threading.Lock()

    def run(self, step: Step) -> Uploaded:
        left = self._resources.retries
        group, new = self._warm(step), False
        while True:
            if group is None:
                group, new = self._start(left), True
                group.take(step)
            outcome = group.outcome(step)
            if outcome is not None:
                break
            if new and group.error is None:
                raise StepFailed(f"{step}", "its workers left no result", "see the cluster's logs")
            # Ray Train counts the losses of all steps of a group.
            begins = ray.get(self._board.forget_group.remote(group.name))
            left -= 1 if new else begins
            if left < 0 or (new and not group.died_launching):
                raise group.lost(step)
            group = None
        with self._lock:
            self._idle.append(group)
        if isinstance(outcome, UnlearnRayError):
            raise outcome
        assert isinstance(outcome, Uploaded)
        return outcome

    def dismiss(self) -> None:
        """Let all groups end after their steps."""
        with suppress(RayError):  # the board is gone, and the workers end with it
            ray.get([self._board.dismiss.remote(one.name) for one in self._started if one.alive])

    def join(self, deadline: float) -> None:
        """Wait for the groups' ends, until a time of `time.monotonic`."""
        for one in self._started:
            one.join(max(0.0, deadline - time.monotonic()))

    def _start(self, retries: int) -> _Group:
        group = _Group(self._worker_config, self._resources, retries, self._board)
        with self._lock:
            self._started = [*(one for one in self._started if one.alive), group]
        return group

    def _warm(self, step: Step) -> _Group | None:
        """An idle group that has taken the step."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                group = self._idle.pop()
            if group.take(step):
                return group
            ray.get(self._board.forget_group.remote(group.name))


class _Group:
    """A worker group of Ray Train: a thread waits for its end.

    Args:
        worker_config: of its workers.
        resources: of its workers.
        retries: how often Ray Train restarts the group after losses.
        board: gives the workers their steps, and takes the outcomes.

    Attributes:
        error: what ended the group, if it did not end by itself.
    """

    def __init__(
        self, worker_config: WorkerConfig, resources: Resources, retries: int, board: Any
    ) -> None:
        self.name = f"group-{secrets.token_hex(8)}"
        self.error: TrainingFailedError | None = None
        self._board = board
        self._failure: BaseException | None = None
        config = {"name": self.name, "worker_config": worker_config, "board": board}
        self._thread = threading.Thread(
            target=self._fit, args=(config, resources, retries), name=self.name, daemon=True
        )

    @property
    def alive(self) -> bool:
        """Whether the group has been started and has not ended."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for its end, if it was started."""
        if self.alive:
            self._thread.join(seconds)

    def take(self, step: Step) -> bool:
        """Give the group a step; whether it takes it."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return False
        if not ray.get(self._board.assign.remote(self.name, step.key, cloudpickle.dumps(step))):
            return False
        if self._thread.ident is None:
            self._thread.start()
        return True

    def outcome(self, step: Step) -> Any:
        """Wait for a step's outcome; None if the group ended without one."""
        started = time.monotonic()
        while True:
            ended = not self._thread.is_alive()
            outcome = ray.get(self._board.collect.remote(step.key))
            if outcome is not None:
                return outcome
            if ended:
                if self._failure is not None:
                    raise self._failure
                return None
            waited = time.monotonic() - started
            self._thread.join(min(_LONGEST_POLL_SECONDS, _POLL_SECONDS + waited / 50))

    @property
    def died_launching(self) -> bool:
        """Whether a worker died during launch: Ray Train raises a failure of its own."""
        return isinstance(self.error, ControllerError) and isinstance(
            self.error.controller_failure, RayActorError | OutOfMemoryError
        )

    def lost(self, step: Step) -> WorkersLost:
        """The group's end as an error of the step."""
        assert self.error is not None
        if killed := memory_kill(self.error):
            return WorkersLost(f"{step}", f"a worker was lost: {killed}", "then run again")
        reason = one_line(str(self.error)).partition(". ")[0][:200]
        return WorkersLost(
            f"{step}", f"its workers failed: {reason}", "see the cluster's logs; run again"
        )

    def _fit(self, config: dict[str, Any], resources: Resources, retries: int) -> None:
        try:
            # Ray Train's own folder stays empty, as nothing is reported to it.
            with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as folder:
                TorchTrainer(
                    serve,
                    train_loop_config=config,
                    torch_config=_SignalTorchConfig(),
                    scaling_config=_scaling(resources),
                    run_config=RunConfig(
                        name=self.name,
                        storage_path=folder,
                        failure_config=FailureConfig(max_failures=retries),
                    ),
                ).fit()
        except TrainingFailedError as error:
            self.error = error
        except BaseException as error:  # raised by `outcome`
            self._failure = error


def _scaling(resources: Resources) -> ScalingConfig:
    fewest, most = resources.fewest_workers, resources.most_workers
    return ScalingConfig(
        num_workers=most if fewest == most else (fewest, most),
        use_gpu=resources.gpus > 0,
        resources_per_worker=bundle(resources),
        label_selector=selector(resources) or None,
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
