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
from dataclasses import dataclass, field
from typing import Any

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


def distribution(field_range: Range) -> BaseDistribution:
    """Optuna's form of a range."""
    if field_range.kind == "choice":
        return CategoricalDistribution(list(field_range.choices))
    if field_range.kind == "int":
        return IntDistribution(int(field_range.low), int(field_range.high))
    return FloatDistribution(
        field_range.low, field_range.high, log=field_range.kind == "log_uniform"
    )


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
        self._numbers: dict[str, int] = {}
        self._stopped: set[str] = set()
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
        self._numbers[trial_id] = number
        suggested: dict[str, Any] = self.suggest(trial_id)
        return suggested

    def should_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial is clearly worse than the study's others after the same seeds."""
        trial = self._ot_trials[trial_id]
        trial.report(result[METRIC], result[SEEDS_RUN])
        if result[LAST] or not trial.should_prune():
            return False
        self._stopped.add(trial_id)
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: `should_stop` has reported it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how the trial ended."""
        failed = error or result is None or result.get(FAILURE) is not None
        if failed:
            super().on_trial_complete(trial_id, None, error=True)
        elif trial_id in self._stopped:
            super().on_trial_complete(trial_id, None, error=False)
        else:
            super().on_trial_complete(trial_id, result, error=False)


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


class StudiesSearch(Searcher):  # type: ignore[misc]
    """All studies behind one Tune run: they take turns, and share its warm actors."""

    def __init__(
        self, queues: list[Queue], on_start: Callable[[Assignment], None] = lambda _: None
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._queues = queues
        self._on_start = on_start
        self.assignments: dict[str, Assignment] = {}
        self._search_of: dict[str, StudySearch | None] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """The space is each study's own."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial of the study that has started the fewest."""
        waiting = [queue for queue in self._queues if queue.numbers]
        if not waiting:
            return str(Searcher.FINISHED)
        queue = min(waiting, key=lambda queue: queue.started)
        number = queue.numbers.pop(0)
        queue.started += 1
        point = queue.begun.get(number, {} if queue.search is None else None)
        if queue.search is not None:
            point = queue.search.suggest_number(trial_id, number, point)
        assert point is not None
        assignment = Assignment(queue.name, number, point)
        self.assignments[trial_id] = assignment
        self._search_of[trial_id] = queue.search
        self._on_start(assignment)
        return {"study": queue.name, "number": number, "point": point}

    def should_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Ask the trial's study; a failed trial ends by itself."""
        search = self._search_of[trial_id]
        if search is None or result.get(FAILURE) is not None:
            return False
        return search.should_stop(trial_id, result)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has asked `should_stop`."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on to the trial's study."""
        search = self._search_of[trial_id]
        if search is not None:
            search.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""


@dataclass
class SeedRungs(FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: after each tuning seed, stop what is clearly worse.

    Attributes:
        search: knows every study's trials.
        on_result: told the trial, its result and whether it stops here.
    """

    search: StudiesSearch
    on_result: Callable[[Assignment, dict[str, Any], bool], None]
    metric: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """The metric is the studies' own."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after one seed."""
        stop = self.search.should_stop(trial.trial_id, result)
        self.on_result(self.search.assignments[trial.trial_id], result, stop)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)
