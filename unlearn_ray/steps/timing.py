"""How long a training takes, told by its first iterations in this process; nothing is stored."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass

from unlearn_ray.core.errors import StopRequested
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import open_store
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Progress

# Iterations that are timed, after the first reported ones, which warm up; slow ones end sooner.
ITERATIONS = 20
_LONGEST_SECONDS = 60.0
_FEWEST = 2


@dataclass
class _Timer:
    """Called with a run's progress; stops it once it has seen enough of it."""

    begun: float
    first: Progress | None = None
    at: float = 0.0
    seconds: float | None = None

    def __call__(self, key: str, name: str, progress: Progress) -> bool:
        now = time.monotonic()
        if self.first is None:
            self.first, self.at = progress, now
            return False
        timed, took = progress.iteration - self.first.iteration, now - self.at
        if timed >= ITERATIONS or (timed >= _FEWEST and took >= _LONGEST_SECONDS):
            each = took / timed
            prepared = max(0.0, self.at - self.begun - each * self.first.iteration)
            self.seconds = prepared + each * progress.iterations
            raise StopRequested(name, "its first iterations were timed", "run the sweep")
        return False


def training_seconds(step: Step, compute: Compute) -> float:
    """Wall seconds that a training step takes in a process of its own like this one.

    Its inputs are replaced by new models. A method of several phases is timed in its first. A run
    that ends before enough of its iterations are seen is timed as a whole.

    Args:
        step: a training or an unlearning.
        compute: the device.

    Raises:
        UnlearnRayError: the data cannot be read, or the step failed.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as folder:
        runtime = Runtime(open_store(folder), compute, checkpoint_seconds=float("inf"))
        for wanted in step.inputs().values():
            runtime.remember(wanted.key, runtime.new_model(wanted.setting, 0))
        runtime.data(step.setting.dataset, step.setting.family)
        timer = _Timer(time.monotonic())
        runtime.on_progress = timer
        try:
            with runtime.running(step.key, f"{step}"):
                step.run(runtime)
        except StopRequested:
            assert timer.seconds is not None
            return timer.seconds
        return time.monotonic() - timer.begun
