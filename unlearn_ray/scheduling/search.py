"""The sampler's side of a study: Tune's OptunaSearch, fed from rows.

Three things that OptunaSearch does not do by itself:

- A study starts from the rows in the store: finished trials are told, begun ones go on.
- A stopped trial is told as pruned and a failed one as failed, never as complete with the gap
  of the seeds that it did run.
- What is suggested for trial n depends on the study's seed, n and the trials told so far, not
  on how often the driver was restarted in between.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from unlearn_ray.core.keys import stable_seed
from unlearn_ray.pipeline.study import PastTrial
from unlearn_ray.pipeline.sweep_schema import Range, Search

METRIC = "mean_gap"
FAILURE = "failure"
SEEDS_RUN = "seeds_run"
LAST = "last_seed"
HOURS = "accelerator_hours"


def distribution(field_range: Range) -> BaseDistribution:
    """Optuna's form of a range."""
    if field_range.kind == "choice":
        return CategoricalDistribution(list(field_range.choices))
    if field_range.kind == "int":
        return IntDistribution(int(field_range.low), int(field_range.high))
    return FloatDistribution(
        field_range.low, field_range.high, log=field_range.kind == "log_uniform"
    )


class StaysInDriver:
    """Tune pickles a run's parts for `Tuner.restore`, which nothing here needs.

    What they point at (threads, views) lives in the driver alone, so they pickle as nothing.
    """

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class StudySearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch for one method's study."""

    def __init__(
        self, name: str, space: dict[str, Range], search: Search, past: list[PastTrial]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            space={field: distribution(field_range) for field, field_range in space.items()},
            metric=METRIC,
            mode="min",
            study_name=name,
        )
        self._name = name
        self._search = search
        self._ot_study.pruner = optuna.pruners.PercentilePruner(
            search.keep, n_startup_trials=search.startup
        )
        for trial in past:
            self._tell_past(trial)

    def _tell_past(self, trial: PastTrial) -> None:
        state = {
            "complete": TrialState.COMPLETE,
            "stopped": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[trial.state]
        self._ot_study.add_trial(
            create_trial(
                state=state,
                value=trial.score if state == TrialState.COMPLETE else None,
                params=trial.point,
                distributions=self._space,
                intermediate_values={
                    run: sum(trial.gaps[:run]) / run for run in range(1, len(trial.gaps) + 1)
                },
            )
        )

    def suggest_number(
        self, trial_id: str, number: int, point: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The searched fields of trial `number`; `point` if it was begun with one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._ot_study.sampler = optuna.samplers.TPESampler(
                seed=stable_seed("sampler", self._search.seed, self._name, number) % 2**32,
                n_startup_trials=self._search.startup,
            )
        if point is not None:
            self._ot_study.enqueue_trial(point)
        suggested: dict[str, Any] = self.suggest(trial_id)
        return suggested

    def should_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial is clearly worse than the study's others after the same seeds."""
        trial = self._ot_trials[trial_id]
        trial.report(result[METRIC], result[SEEDS_RUN])
        stop: bool = trial.should_prune()
        return stop

    def tell(self, trial_id: str, ending: Ending) -> None:
        """Tell Optuna how a trial ended."""
        if ending.state == "complete":
            # Optuna keeps the last seed, too, for the trials that are compared with this one.
            self._ot_trials[trial_id].report(ending.gap, ending.seeds_run)
            self.on_trial_complete(trial_id, {METRIC: ending.gap})
        else:
            self.on_trial_complete(trial_id, None, error=ending.state == "failed")


@dataclass
class Queue:
    """The trials that one study still has to run.

    Attributes:
        name: of the method.
        search: None where nothing is searched.
        begun: points of unfinished trials by their number; these go first.
        numbers: of the trials to run, in order.
    """

    name: str
    search: StudySearch | None
    begun: dict[int, dict[str, Any]]
    numbers: list[int]
    started: int = 0


@dataclass(frozen=True)
class Assignment:
    """One trial that Tune runs."""

    study: str
    number: int
    point: dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        gap: mean average gap over the seeds that were run; None if it failed.
        seeds_run: how many these were.
        failure: why it failed.
        hours: accelerator hours of each seed's row.
    """

    state: Literal["complete", "stopped", "failed"]
    gap: float | None
    seeds_run: int
    failure: str | None = None
    hours: tuple[float, ...] = ()


class StudiesSearch(StaysInDriver, Searcher):  # type: ignore[misc]
    """All studies behind one Tune run: they take turns, and share its warm actors.

    Args:
        queues: what each study has to run.
        room: how many trials may run or wait, now.
        may_launch: asked before every trial; after the first no, there are no more.
        on_start: told each trial that starts.
        on_end: told each trial that ends, once its study's sampler knows.
    """

    def __init__(
        self,
        queues: list[Queue],
        room: Callable[[], int],
        may_launch: Callable[[], bool],
        on_start: Callable[[Assignment], None],
        on_end: Callable[[Assignment, Ending], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._queues = queues
        self._room = room
        self._may_launch = may_launch
        self._running: set[str] = set()
        self._on_start = on_start
        self._on_end = on_end
        self._assignments: dict[str, Assignment] = {}
        self._search_of: dict[str, StudySearch | None] = {}
        self._stopped: set[str] = set()

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """The space is each study's own."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial of the study that has started the fewest; None while there is no room."""
        waiting = [queue for queue in self._queues if queue.numbers]
        if not waiting or not self._may_launch():
            return str(Searcher.FINISHED)
        if len(self._running) >= self._room():
            return None
        queue = min(waiting, key=lambda queue: queue.started)
        number = queue.numbers.pop(0)
        queue.started += 1
        point = queue.begun.get(number, {} if queue.search is None else None)
        if queue.search is not None:
            point = queue.search.suggest_number(trial_id, number, point)
        assert point is not None
        assignment = Assignment(queue.name, number, point)
        self._assignments[trial_id] = assignment
        self._search_of[trial_id] = queue.search
        self._running.add(trial_id)
        self._on_start(assignment)
        return {"study": queue.name, "number": number, "point": point}

    def should_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Ask the trial's study; a trial that ends by itself is not asked for."""
        search = self._search_of[trial_id]
        if search is None or not search.should_stop(trial_id, result):
            return False
        self._stopped.add(trial_id)
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has asked `should_stop`."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the trial's study, then whoever waits for it."""
        self._running.discard(trial_id)
        ending = self._ending(trial_id, result, error)
        if ending is None:
            return
        search = self._search_of[trial_id]
        if search is not None:
            search.tell(trial_id, ending)
        self._on_end(self._assignments[trial_id], ending)

    def _ending(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> Ending | None:
        if error or result is None:
            return Ending("failed", None, 0, "its worker was lost too often")
        failure, hours = result.get(FAILURE), result[HOURS]
        if failure is not None:
            return Ending("failed", None, result[SEEDS_RUN], failure, hours)
        if trial_id in self._stopped:
            return Ending("stopped", result[METRIC], result[SEEDS_RUN], hours=hours)
        if result[LAST]:
            return Ending("complete", result[METRIC], result[SEEDS_RUN], hours=hours)
        return None  # the whole sweep is being stopped; the trial goes on when it is resumed

    def save(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""


class SeedRungs(StaysInDriver, FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: after each tuning seed, stop what is clearly worse.

    Args:
        search: knows every study's trials.
    """

    def __init__(self, search: StudiesSearch) -> None:
        super().__init__()
        self.search = search

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """The metric is the studies' own."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after one seed; Tune does not ask after a trial's last."""
        stop = self.search.should_stop(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)
