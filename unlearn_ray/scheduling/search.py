"""The sampler's side of a study: Tune's OptunaSearch, fed from rows.

Three things that OptunaSearch does not do by itself:

- A study starts from the rows in the store: finished trials are told, begun ones go on.
- A stopped trial is told as pruned and a failed one as failed, never as complete with the gap
  of the seeds that it did run.
- What is suggested for trial n depends on the study's seed, n and the trials told so far, not
  on how often the driver was restarted in between.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from unlearn_ray.core.keys import stable_seed
from unlearn_ray.pipeline.study import PastTrial
from unlearn_ray.pipeline.sweep_schema import Range, Search

METRIC = "mean_gap"
FAILURE = "failure"
SEEDS_RUN = "seeds_run"
LAST = "last_seed"
# What loggers show beside the mean gap.
SHOWN = ("value/", "gap/")
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


class _Sampler(TPESampler):  # type: ignore[misc]
    """TPE over a space that never changes; TPE itself would ask all trials for it, each time."""

    def __init__(self, space: dict[str, BaseDistribution], seed: int, startup: int) -> None:
        super().__init__(seed=seed, n_startup_trials=startup, multivariate=True)
        self._known = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is sampled jointly: everything."""
        return self._known


class StudySearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch for one study."""

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
            self._ot_study.sampler = _Sampler(
                self._space,
                stable_seed("sampler", self._search.seed, self._name, number) % 2**32,
                self._search.startup,
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
        # The study keeps what it needs of it.
        del self._ot_trials[trial_id]


@dataclass
class Queue:
    """The trials that one study still has to run.

    Attributes:
        name: of the study.
        search: None where nothing is searched.
        begun: points of unfinished trials by their number; these go first.
        numbers: of the trials to run, in order.
        fixed: fields that are not searched.
    """

    name: str
    search: StudySearch | None
    begun: dict[int, dict[str, Any]]
    numbers: list[int]
    fixed: dict[str, Any] = field(default_factory=dict)
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
        lost: whether that is the loss of its workers, of which no row tells yet.
    """

    state: Literal["complete", "stopped", "failed"]
    gap: float | None
    seeds_run: int
    failure: str | None = None
    hours: tuple[float, ...] = ()
    lost: bool = False


@dataclass
class _Running:
    """A trial that Tune runs.

    Attributes:
        search: of its study.
        seeds_run: tuning seeds after which its study was asked.
        hours: what these cost.
        stopped: whether the study said that it is clearly worse.
        failure: why it had to be started again, if it had.
        lost: whether that is the loss of its worker.
        again: whether Tune has given it up, and it is to be started again.
    """

    assignment: Assignment
    search: StudySearch | None
    seeds_run: int = 0
    hours: tuple[float, ...] = ()
    stopped: bool = False
    failure: str = ""
    lost: bool = False
    again: bool = False

    def ending(self, result: dict[str, Any] | None) -> Ending | None:
        """How it ended with this last result, if it has."""
        if result is None:
            return Ending("failed", None, self.seeds_run, self.failure, self.hours, self.lost)
        gap, seeds_run, hours = result[METRIC], result[SEEDS_RUN], result[HOURS]
        if result[FAILURE] is not None:
            return Ending("failed", None, seeds_run, result[FAILURE], hours)
        if self.stopped:
            return Ending("stopped", gap, seeds_run, hours=hours)
        if result[LAST]:
            return Ending("complete", gap, seeds_run, hours=hours)
        return None  # the whole sweep is being stopped; the trial goes on when it is resumed


class StudiesSearch(StaysInDriver, Searcher):  # type: ignore[misc]
    """All studies behind Tune: they take turns, and share its warm actors.

    Attributes:
        error: that ended the search: what `on_end` raised.

    Args:
        queues: what each study has to run.
        room: how many trials may run or wait, now.
        may_launch: asked before every trial; after the first no, there are no more.
        on_start: told each trial that starts.
        on_end: told each trial that ends, once its study's sampler knows.
        retries: how often a trial is started again that Tune gave up by mistake.
    """

    def __init__(
        self,
        queues: list[Queue],
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
        self._queues = queues
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
        """Trials that have not been started."""
        return sum(len(queue.numbers) for queue in self._queues)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial of the study that has started the fewest; None while there is no room."""
        with self._lock:
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
            self._running[trial_id] = _Running(assignment, queue.search)
            if (queue.name, number) not in self._given_up:
                self._on_start(assignment)
        return {
            "method": queue.name,
            "trial": number,
            "hyperparameters": {**queue.fixed, **point},
        }

    def should_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Ask the trial's study; a trial that ends by itself is not asked for."""
        with self._lock:
            running = self._running[trial_id]
            if result[SEEDS_RUN] <= running.seeds_run:
                return False  # was asked for, before its worker was lost
            running.seeds_run, running.hours = result[SEEDS_RUN], result[HOURS]
            if running.search is not None:
                running.stopped = running.search.should_stop(trial_id, result)
            return running.stopped

    def runs(self, trial_id: str) -> bool:
        """Whether a trial was started and has not ended."""
        return trial_id in self._running

    def broke(self, trial_id: str, failure: str, *, lost: bool) -> None:
        """Note why a trial is started again, or given up.

        Args:
            trial_id: which.
            failure: the reason.
            lost: whether its worker was lost, rather than raised an error.
        """
        running = self._running[trial_id]
        running.failure, running.lost = failure, lost

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
        """Nothing: the scheduler has asked `should_stop`."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the trial's study, then whoever waits for it."""
        with self._lock:
            running = self._running.pop(trial_id)
            if running.again:
                self._put_back(trial_id, running)
                return
            ending = running.ending(None if error else result)
            if ending is None:
                return
            if running.search is not None:
                running.search.tell(trial_id, ending)
            try:
                self._on_end(running.assignment, ending)
            except Exception as error:
                # Tune would take it for the trial's own, and start the trial again.
                self.error = error

    def _put_back(self, trial_id: str, running: _Running) -> None:
        """Have a trial suggested again, as the next of its study."""
        assignment = running.assignment
        queue = next(queue for queue in self._queues if queue.name == assignment.study)
        if queue.search is not None:
            queue.search.tell(trial_id, Ending("failed", None, running.seeds_run))
        queue.begun[assignment.number] = assignment.point
        queue.numbers.insert(0, assignment.number)
        queue.started -= 1
        self._took_back = True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: rows are the only memory."""
