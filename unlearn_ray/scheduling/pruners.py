"""What stops the trials of a study between tuning seeds, as functions of its history.

A pruner is told, in the order of their numbers, of the trials that have ended, and gives each new
trial its *bars*: one for each seed but the last, decided when the trial is suggested. They go to
the trial's worker, which knows nothing of other trials; so neither the time at which a trial ends
nor the driver that ran it changes what stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import WilcoxonPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from unlearn_ray.config.searchers import NO_PRUNER, PERCENTILE, Chosen, chosen_pruner
from unlearn_ray.config.sweep_schema import Search
from unlearn_ray.studies.fronts import Rank, Score, Vector, mark, mean, vector
from unlearn_ray.studies.history import Bar, TrialRecord, first_mean
from unlearn_ray.studies.rows import State

# Of a trial, one for each seed but the last; a number is the mean score above which it stops, and
# None lets it go on.
TrialBars = tuple[Bar | float | None, ...]


class Pruner(Protocol):
    """Decides which trials of one study stop."""

    def tell(self, past: TrialRecord) -> None:
        """Count a trial that has ended."""

    def now(self, number: int) -> TrialBars:
        """The bars of a trial that is suggested now."""


def pruner(search: Search, seeds: int, name: str, objectives: int, constrained: bool) -> Pruner:
    """The pruner of a study.

    Args:
        search: names the pruner.
        seeds: how many tuning seeds there are.
        name: of the study.
        objectives: how many there are.
        constrained: whether there are constraints.
    """
    chosen = chosen_pruner(search)
    if chosen.name == NO_PRUNER:
        return NoBars(seeds)
    if chosen.name != PERCENTILE:
        return OptunaBars(chosen, search, seeds, name)
    return RankBars(search, seeds) if objectives > 1 or constrained else Bars(search, seeds)


class NoBars:
    """Nothing stops.

    Args:
        seeds: how many tuning seeds there are.
    """

    def __init__(self, seeds: int) -> None:
        self._bars = (None,) * (seeds - 1)

    def tell(self, past: TrialRecord) -> None:
        """Does nothing."""

    def now(self, number: int) -> TrialBars:
        """No bar."""
        return self._bars


class Bars:
    """The score that a trial must reach after each tuning seed to go on to the next.

    Its mean score over the seeds so far must be within the best `keep` percent of the means, over
    the same seeds, of all trials that ran them, whether those went on, stopped, or are complete.
    (Optuna's percentile pruner compares the best step of a trial with complete trials only, which
    lets a trial with one lucky seed continue, and raises the bar over time.)

    Args:
        search: sets `keep`, and `startup`: how many trials must have ended before any is stopped.
        seeds: how many tuning seeds there are.
    """

    def __init__(self, search: Search, seeds: int) -> None:
        self._keep = search.keep
        self._startup = search.startup
        self._means: list[list[float]] = [[] for _ in range(seeds)]

    def tell(self, past: TrialRecord) -> None:
        """Count a trial that has ended; failed ones have no score to compare with."""
        if past.state != State.FAILED:
            for run, means in enumerate(self._means[: len(past.scores)], start=1):
                means.append(first_mean(past.scores[:run]))

    def now(self, number: int) -> tuple[float | None, ...]:
        """For each seed but the last, the mean score above which a trial stops; None: no bar."""
        if len(self._means[0]) < self._startup:
            return (None,) * (len(self._means) - 1)
        return tuple(
            float(np.percentile(means, self._keep)) if means else None for means in self._means[:-1]
        )


class RankBars:
    """The rank that a trial must have after each tuning seed to go on: `Bars` for a partial order.

    A trial's rank is the number of trials that dominate it (`studies.fronts`), all by their means
    over the seeds that it ran: 0 for what nothing dominates. It goes on if its rank is within the
    best `keep` percent of the ranks of all trials that ran these seeds. With one objective that is
    what `Bars` does; with constraints, trials that keep them come before those that do not.

    Args:
        search: as for `Bars`.
        seeds: how many tuning seeds there are.
    """

    def __init__(self, search: Search, seeds: int) -> None:
        self._keep = search.keep
        self._startup = search.startup
        self._ranked = [_Ranked() for _ in range(seeds - 1)]
        self._ended = 0

    def tell(self, past: TrialRecord) -> None:
        """Count a trial that has ended, likewise."""
        if past.state == State.FAILED:
            return
        self._ended += bool(past.scores)
        for run, ranked in enumerate(self._ranked[: len(past.scores)], start=1):
            ranked.add(mark(past.scores[:run], past.excesses[:run]))

    def now(self, number: int) -> TrialBars:
        """The bar of each seed but the last."""
        if self._ended < self._startup:
            return (None,) * len(self._ranked)
        return tuple(ranked.bar(self._keep) for ranked in self._ranked)


class _Ranked:
    """Marks after one seed, each with its rank."""

    def __init__(self) -> None:
        self._marks = np.empty((0, 0))
        self._ranks = np.empty(0, dtype=int)

    def add(self, added: Vector) -> None:
        """Rank one more mark, and those that it dominates anew."""
        own = np.asarray(added)
        if not len(self._marks):
            self._marks = np.empty((0, len(own)))
        better, worse = _dominating(self._marks, own), _dominating(own, self._marks)
        self._ranks = np.append(self._ranks + worse, better.sum())
        self._marks = np.vstack([self._marks, own])

    def bar(self, keep: float) -> Rank | None:
        """The bar that `keep` percent reach; None without marks."""
        if not len(self._ranks):
            return None
        most = int(np.percentile(self._ranks, keep))
        deciding = self._marks[self._ranks <= most]
        return Rank(most, tuple(tuple(map(float, each)) for each in deciding))


def _dominating(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each mark of one side dominates the mark of the other; one side is a single mark."""
    equal = some[..., 0] == others[..., 0]
    no_larger = (some[..., 1:] <= others[..., 1:]).all(axis=-1)
    smaller = (some[..., 1:] < others[..., 1:]).any(axis=-1)
    found: np.ndarray = np.where(equal, no_larger & smaller, some[..., 0] < others[..., 0])
    return found


class OptunaBars:
    """A pruner of Optuna, with tuning seeds as its steps.

    Args:
        chosen: the pruner.
        search: sets `startup`.
        seeds: how many tuning seeds there are.
        name: of the study.
    """

    def __init__(self, chosen: Chosen, search: Search, seeds: int, name: str) -> None:
        self._chosen = chosen
        self._startup = search.startup
        self._seeds = seeds
        self._name = name
        self._told: list[Told] = []

    def tell(self, past: TrialRecord) -> None:
        """Keep what Optuna will be told."""
        assert past.number == len(self._told), "trials are told in the order of their numbers"
        scores = tuple(vector(score)[0] for score in past.scores)
        self._told.append(Told(scores, past.state))

    def now(self, number: int) -> TrialBars:
        """One bar for all seeds: it holds the history."""
        bar = OptunaBar(
            self._chosen, self._startup, self._seeds, self._name, number, tuple(self._told)
        )
        return (bar,) * (self._seeds - 1)


@dataclass(frozen=True)
class Told:
    """How a trial ended: its scores by seed, and its state."""

    scores: tuple[float, ...]
    state: State


@dataclass(frozen=True)
class OptunaBar:
    """A trial's history, from which its worker asks Optuna's pruner.

    Attributes:
        chosen: the pruner.
        startup: trials that must be complete before it stops any, if it has such a parameter.
        seeds: how many tuning seeds there are.
        study: the study's name.
        number: the trial's.
        told: the trials that have ended, by number.
    """

    chosen: Chosen
    startup: int
    seeds: int
    study: str
    number: int
    told: tuple[Told, ...]

    def stops(self, scores: Sequence[Score], excesses: Sequence[Vector]) -> bool:
        """Whether the pruner stops a trial with these scores, one per seed so far."""
        states = {State.COMPLETE: TrialState.COMPLETE, State.FAILED: TrialState.FAIL}
        study = optuna.create_study(
            study_name=self.study, sampler=RandomSampler(seed=0), pruner=self._pruner()
        )
        for number in range(self.number):
            trial = study.ask()
            if number < len(self.told):
                past = self.told[number]
                self._report(trial, past.scores)
                state = states.get(past.state, TrialState.PRUNED)
                value = mean(past.scores) if state == TrialState.COMPLETE else None
                study.tell(trial, value, state=state)
        return self._report(study.ask(), [vector(score)[0] for score in scores])

    def _pruner(self) -> optuna.pruners.BasePruner:
        own: dict[str, Any] = {
            "n_startup_trials": self.startup,
            "min_resource": 1,
            "max_resource": self.seeds,
        }
        taken = {name: value for name, value in own.items() if self.chosen.takes(name)}
        return self.chosen.build(None, **taken)

    def _report(self, trial: optuna.Trial, scores: Sequence[float]) -> bool:
        """Report a trial's seeds; whether it is to stop after the last."""
        # The signed-rank test compares trials seed by seed, all others by their means so far.
        by_seed = issubclass(self.chosen.load(), WilcoxonPruner)
        stop = False
        for run, score in enumerate(scores, start=1):
            trial.report(score if by_seed else mean(scores[:run]), run)
            stop = trial.should_prune()  # it may keep something for later trials
        return stop
