"""`StudiesSearch`: all studies of a sweep as one Tune searcher."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy
from unlearn_ray.studies.fronts import Score, Vector
from unlearn_ray.studies.rows import State

METRIC = "mean_score"
SCORES = "scores"
EXCESSES = "excesses"
STOPPED = "stopped"
FAILURE = "failure"
# Attributes of a failure, as in `Ending`.
UNTOLD = "untold"
AGAIN = "again"
SEEDS_RUN = "seeds_run"
LAST = "last_seed"
# What loggers show in addition to the mean score.
SHOWN = ("value/", "gap/")
# The loss curves of the seed, for loggers: each point with its name, value and iteration.
CURVE = "curve"
HOURS = "accelerator_hours"


class NotPickled:
    """Pickles as None: Tune pickles a run's parts for `Tuner.restore`, which is not used.

    What the parts refer to (threads, views) exists in the driver only.
    """

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


@dataclass
class _Running:
    """A trial that Tune runs.

    Attributes:
        study: the trial's.
        scores: of the tuning seeds reported so far.
        hours: their accelerator hours.
        failure: why it was restarted, if it was.
        again: whether Tune has given it up, and it must be restarted.
        excesses: what the trial is beyond each constraint on these seeds.
    """

    assignment: Assignment
    study: SharedStudy
    scores: tuple[Score, ...] = ()
    hours: tuple[float, ...] = ()
    failure: str = ""
    again: bool = False
    excesses: tuple[Vector, ...] = ()

    def ending(self, result: dict[str, Any] | None) -> Ending | None:
        """How it ended with this last result; None if it has not ended."""
        if result is None:
            return self._ended(State.FAILED, self.failure, untold=True)
        self.note(result)
        if result[FAILURE] is not None:
            untold, again = result[UNTOLD], result[AGAIN]
            return self._ended(State.FAILED, result[FAILURE], untold=untold, again=again)
        if result[STOPPED]:
            return self._ended(State.STOPPED)
        if result[LAST]:
            return self._ended(State.COMPLETE)
        return None  # the whole sweep is being stopped; the trial continues when it is resumed

    def note(self, result: dict[str, Any]) -> None:
        """Keep its results so far."""
        self.scores, self.hours = result[SCORES], result[HOURS]
        self.excesses = result[EXCESSES]

    def _ended(
        self,
        state: State,
        failure: str | None = None,
        *,
        untold: bool = False,
        again: bool = False,
    ) -> Ending:
        return Ending(
            state, self.scores, failure, self.hours, untold, again, excesses=self.excesses
        )


class StudiesSearch(NotPickled, Searcher):  # type: ignore[misc]
    """All studies as one searcher: they take turns, and share Tune's warm actors.

    Attributes:
        error: what `on_end` raised, which ended the search.

    Args:
        studies: the studies to run.
        room: how many trials may currently run or wait.
        may_launch: called before every trial; after the first False, there are no more.
        on_start: called with each trial that starts.
        on_end: called with each trial that ends, after its study.
        retries: how often a trial is restarted that Tune gave up by mistake.
    """

    def __init__(
        self,
        studies: list[SharedStudy],
        room: Callable[[], int],
        may_launch: Callable[[], bool],
        on_start: Callable[[Assignment], None],
        on_end: Callable[[Assignment, Ending], None],
        retries: int = 0,
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._retries = retries
        self._given_up: Counter[tuple[str, int]] = Counter()
        self._took_back = False
        self._studies = studies
        self._room = room
        self._may_launch = may_launch
        self._running: dict[str, _Running] = {}
        self._on_start = on_start
        self._on_end = on_end
        self.error: Exception | None = None
        # Two of Tune's runs may call at a time: one that ends, and the next.
        self._lock = threading.RLock()

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Does nothing: each study has its own space."""
        return True

    @property
    def left(self) -> int:
        """How many trials have not ended and do not run here."""
        return sum(study.left for study in self._studies)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, of the study that has started the fewest; None if none may start now.

        None may while there is no room, or while other drivers run all that could.
        """
        with self._lock:
            try:
                assigned = self._assigned()
            except Exception as error:
                # Tune would report that the search failed, but not why.
                self.error = error
                return str(Searcher.FINISHED)
            if assigned is None or isinstance(assigned, str):
                return assigned
            study, assignment = assigned
            self._running[trial_id] = _Running(assignment, study)
            if (assignment.study, assignment.number) not in self._given_up:
                self._on_start(assignment)
        return {
            "study": assignment.study,
            "trial": assignment.number,
            "hyperparameters": {**study.fixed, **assignment.point},
            "bars": assignment.bars,
        }

    def _assigned(self) -> tuple[SharedStudy, Assignment] | str | None:
        waiting = [study for study in self._studies if study.left]
        if not waiting or not self._may_launch():
            return str(Searcher.FINISHED)
        if len(self._running) >= self._room():
            return None
        for study in sorted(waiting, key=lambda study: study.started):
            assignment = study.next()
            if assignment is not None:
                return study, assignment
        return None

    def note(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a trial's results so far, in case its worker is lost."""
        with self._lock:
            running = self._running[trial_id]
            if len(result[SCORES]) > len(running.scores):
                running.note(result)

    def runs(self, trial_id: str) -> bool:
        """Whether a trial has started and not ended."""
        return trial_id in self._running

    def broke(self, trial_id: str, failure: str) -> None:
        """Note why a trial is restarted, or given up."""
        self._running[trial_id].failure = failure

    def given_up(self, trial_id: str) -> None:
        """Note that Tune gives up a trial that it had just put back into its queue."""
        running = self._running[trial_id]
        trial = (running.assignment.study, running.assignment.number)
        self._given_up[trial] += 1
        running.again = self._given_up[trial] <= self._retries

    def took_back(self) -> bool:
        """Whether a trial was put back since the last call."""
        with self._lock:
            took_back, self._took_back = self._took_back, False
            return took_back

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Does nothing: the scheduler has called `note`."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's end to its study, then to `on_end`."""
        with self._lock:
            running = self._running.pop(trial_id)
            if running.again:
                running.study.put_back(running.assignment.number)
                self._took_back = True
                return
            ending = running.ending(None if error else result)
            if ending is None:
                return
            try:
                if ending.again:
                    running.study.give_back(running.assignment.number)
                else:
                    running.study.end(running.assignment, ending)
                self._on_end(running.assignment, ending)
            except Exception as error:
                # Tune would take it for the trial's own error, and restart the trial.
                self.error = error

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: rows are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: rows are the only state."""
