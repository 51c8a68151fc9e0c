"""Tune's runs: each is a bounded part of the search, which bounds Tune's memory.

Tune keeps some 60 KB per trial until its run ends, and scans all of them for every result. When a
run has started its share of trials, the next begins while the last trials continue: the room that
they leave is used at once, by new processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from unlearn_ray.core.errors import StepFailed
from unlearn_ray.core.words import counted
from unlearn_ray.scheduling.jobs import Job, Jobs
from unlearn_ray.scheduling.losses import memory_kill
from unlearn_ray.scheduling.ray_private import outlive_memory_kills
from unlearn_ray.scheduling.search import METRIC, NotPickled, StudiesSearch

# Most trials of one run: 120 MB of the driver's memory, but at least 50 for each process, which
# takes seconds to start again.
MOST_TRIALS = 2000
MOST_TRIALS_EACH = 50

outlive_memory_kills()


class Round(NotPickled, Searcher):  # type: ignore[misc]
    """The part of a search that one of Tune's runs covers.

    Args:
        search: all studies.
        trials: how many to start.
        on_started: called once all have started.
    """

    def __init__(self, search: StudiesSearch, trials: int, on_started: Callable[[], None]) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._search = search
        self._left = trials
        self._on_started = on_started

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Does nothing: each study has its own space."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The search's next trial."""
        suggested = self._search.suggest(trial_id)
        if isinstance(suggested, dict):
            self._left -= 1
            if self._left == 0:
                self._on_started()
        return suggested

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Does nothing: the scheduler asks the search."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the search."""
        self._search.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: rows are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: rows are the only state."""


class Watching(NotPickled, FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: FIFO; it tells the search about results and errors.

    A trial ends itself after the tuning seed at which it is clearly worse than others.

    Args:
        search: knows every study's trials.
    """

    def __init__(self, search: StudiesSearch) -> None:
        super().__init__()
        self.search = search

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Does nothing: the studies have their own metric."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Note one seed; Tune does not report a trial's last one here."""
        self.search.note(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Note the error for which Tune restarts the trial, or gives it up.

        Raises:
            StepFailed: the trial had ended, and handling its end failed.
        """
        if not self.search.runs(trial.trial_id):
            reason = Path(trial.error_file).read_text().strip().splitlines()[-1]
            raise StepFailed(f"the end of {trial}", reason, "fix that and run the sweep again")
        with open(trial.pickled_error_file, "rb") as file:
            error = cloudpickle.load(file)
        lost = isinstance(error, RayActorError)
        times = counted(trial.num_failures, "time")
        why = memory_kill(error) or _loss(error) if lost else f"{error.cause!r}"
        failure = f"its worker {'was lost' if lost else 'failed'} {times} (last: {why})"
        self.search.broke(trial.trial_id, failure)
        if trial.status == Trial.PENDING:
            # Tune reports a worker that is lost while it takes its next trial twice: first it puts
            # the trial back into its queue, then it gives it up.
            self.search.given_up(trial.trial_id)


def _loss(error: RayActorError) -> str:
    """Ray's reason in short: without ids, advice and traces."""
    lines = [line for line in str(error).splitlines() if not line.startswith(("\t", " "))]
    reason = " ".join(lines).partition(" Some common causes")[0]
    return reason.rpartition("Worker exit detail: ")[2][:200]


class _StopAll(NotPickled, Stopper):  # type: ignore[misc]
    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.asked()

    def stop_all(self) -> bool:
        return self.asked()


@dataclass
class Rounds:
    """Tune's runs of one search.

    Attributes:
        search: all studies.
        trainable: with its resources.
        name: of the sweep.
        room: how many trials may currently run or wait.
        retries: how often a trial is restarted after the loss of its worker.
        callbacks: makes those of one run.
        stopping: polled throughout.
        jobs: the driver's; each of Tune's runs is one of them.
    """

    search: StudiesSearch
    trainable: Any
    name: str
    room: Callable[[], int]
    retries: int
    callbacks: Callable[[], list[Any]]
    stopping: Callable[[], bool]
    jobs: Jobs
    _begun: int = 0
    _ended: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Run every trial of the search; returns when all have ended, or were stopped.

        Raises:
            Exception: what ended the search.
        """
        self._add()
        if self._begun:
            self._over.wait()
        if self.search.error is not None:
            raise self.search.error

    def _add(self) -> None:
        if self.search.left == 0 or self._ending():
            return
        with self._lock:
            number, self._begun = self._begun, self._begun + 1
        most = max(MOST_TRIALS, MOST_TRIALS_EACH * self.room())
        trials = math.ceil(self.search.left / math.ceil(self.search.left / most))
        part = Round(self.search, trials, on_started=self._add)
        self.jobs.add([Job(f"round {number}", partial(self._run, part, trials))])

    def _ending(self) -> bool:
        return self.stopping() or self.search.error is not None

    def _run(self, part: Round, trials: int) -> None:
        with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as folder:
            tune.Tuner(
                self.trainable,
                tune_config=tune.TuneConfig(
                    search_alg=part,
                    scheduler=Watching(self.search),
                    num_samples=trials,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name=self.name,
                    storage_path=folder,
                    callbacks=self.callbacks(),
                    verbose=0,
                    stop=_StopAll(self._ending),
                    failure_config=tune.FailureConfig(max_failures=self.retries),
                    # A trial leaves rows and records; there is nothing else to save.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
        _give_back_memory()
        with self._lock:
            self._ended += 1
            last = self._ended == self._begun
        if last and self.search.took_back():
            self._add()
        if self._ended == self._begun:
            self._over.set()


def _give_back_memory() -> None:
    """Return freed memory to the system; glibc would keep 25 KB per trial."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _trial_name(trial: Any) -> str:
    return f"{trial.config['study']}-{trial.config['trial']:06d}"
