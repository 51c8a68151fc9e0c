"""`StudiesSearch`: all studies of a sweep behind Tune, which runs their trials."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy
from unlearn_ray.studies.rows import State

METRIC = "mean_score"
SCORES = "scores"
STOPPED = "stopped"
FAILURE = "failure"
# Of a failure: as in `Ending`.
UNTOLD = "untold"
AGAIN = "again"
SEEDS_RUN = "seeds_run"
LAST = "last_seed"
# What loggers show beside the mean score.
SHOWN = ("value/", "gap/")
HOURS = "accelerator_hours"


class NotPickled:
    """Tune pickles a run's parts for `Tuner.restore`, which nothing here needs.

    What they point at (threads, views) lives in the driver alone, so they pickle as nothing.
    """

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


@dataclass
class _Running:
    """A trial that Tune runs.

    Attributes:
        study: of the trial.
        scores: of the tuning seeds that it has told of.
        hours: what these cost.
        failure: why it had to be started again, if it had.
        again: whether Tune has given it up, and it is to be started again.
    """

    assignment: Assignment
    study: SharedStudy
    scores: tuple[float, ...] = ()
    hours: tuple[float, ...] = ()
    failure: str = ""
    again: bool = False

    def ending(self, result: dict[str, Any] | None) -> Ending | None:
        """How it ended with this last result, if it has."""
        if result is None:
            return Ending(State.FAILED, self.scores, self.failure, self.hours, untold=True)
        scores, hours = result[SCORES], result[HOURS]
        if result[FAILURE] is not None:
            told = {flag: result[flag] for flag in (UNTOLD, AGAIN)}
            return Ending(State.FAILED, scores, result[FAILURE], hours, **told)
        if result[STOPPED]:
            return Ending(State.STOPPED, scores, hours=hours)
        if result[LAST]:
            return Ending(State.COMPLETE, scores, hours=hours)
        return None  # the whole sweep is being stopped; the trial goes on when it is resumed


class StudiesSearch(NotPickled, Searcher):  # type: ignore[misc]
    """All studies behind Tune: they take turns, and share its warm actors.

    Attributes:
        error: that ended the search: what `on_end` raised.

    Args:
        studies: what there is to run.
        room: how many trials may run or wait, now.
        may_launch: asked before every trial; after the first no, there are no more.
        on_start: told each trial that starts.
        on_end: told each trial that ends, once its study knows.
        retries: how often a trial is started again that Tune gave up by mistake.
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
        # Two of Tune's runs may ask at a time: one that ends, and the next.
        self._lock = threading.RLock()

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """The space is each study's own."""
        return True

    @property
    def left(self) -> int:
        """Trials that have not ended and do not run here."""
        return sum(study.left for study in self._studies)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial of the study that has started the fewest; None while there is none.

        There is none while there is no room, or while those that may run are other drivers'.
        """
        with self._lock:
            try:
                assigned = self._assigned()
            except Exception as error:
                # Tune would say that the search failed, and not why.
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
        """Keep what a trial has run so far, in case that its worker is lost."""
        with self._lock:
            running = self._running[trial_id]
            if len(result[SCORES]) > len(running.scores):
                running.scores, running.hours = result[SCORES], result[HOURS]

    def runs(self, trial_id: str) -> bool:
        """Whether a trial was started and has not ended."""
        return trial_id in self._running

    def broke(self, trial_id: str, failure: str) -> None:
        """Note why a trial is started again, or given up."""
        self._running[trial_id].failure = failure

    def given_up(self, trial_id: str) -> None:
        """Note that Tune gives a trial up that it had just put back into its queue."""
        running = self._running[trial_id]
        trial = (running.assignment.study, running.assignment.number)
        self._given_up[trial] += 1
        running.again = self._given_up[trial] <= self._retries

    def took_back(self) -> bool:
        """Whether a trial was put back since this was asked last."""
        with self._lock:
            took_back, self._took_back = self._took_back, False
            return took_back

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has told `note`."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the trial's study, then whoever waits for it."""
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
                # Tune would take it for the trial's own, and start the trial again.
                self.error = error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""
