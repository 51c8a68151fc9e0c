"""Suggestions and pruning thresholds of a study's trials, as functions of its history.

Trial n is requested from Optuna (ask) once the results of trials 0 to n - window have been
reported (tell), in the order of their numbers, and the others before n have been asked for: neither
the time at which a trial ends nor the driver that ran it changes a suggestion. The sampler's seed
is derived from the study and n, so that a study restored from rows continues with the same
suggestions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from unlearn_ray.config.sweep_schema import Range, Search
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.studies.history import TrialRecord, mean
from unlearn_ray.studies.rows import State


def distribution(field_range: Range) -> BaseDistribution:
    """The Optuna distribution of a range."""
    if field_range.kind == "choice":
        return CategoricalDistribution(list(field_range.choices))
    if field_range.kind == "int":
        return IntDistribution(int(field_range.low), int(field_range.high))
    return FloatDistribution(
        field_range.low, field_range.high, log=field_range.kind == "log_uniform"
    )


class _Sampler(TPESampler):  # type: ignore[misc]
    """TPE over a fixed space; TPE itself would infer it from all trials, each time."""

    def __init__(self, space: dict[str, BaseDistribution], seed: int, startup: int) -> None:
        super().__init__(seed=seed, n_startup_trials=startup, multivariate=True)
        self._known = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Sample all fields jointly."""
        return self._known


class Sampler:
    """The Optuna study behind one of a sweep's studies.

    Attributes:
        asked: how many trials have been asked for, which is the number of the next.

    Args:
        name: of the study.
        space: the searched fields.
        search: the search settings.
    """

    def __init__(self, name: str, space: Mapping[str, Range], search: Search) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name = name
        # Fields are drawn in turn; the order of lines in a file must not matter.
        self._space = {field: distribution(space[field]) for field in sorted(space)}
        self._search = search
        self._study = optuna.create_study(direction="minimize", study_name=name)
        self._running: dict[int, optuna.Trial] = {}
        self.asked = 0

    def ask(self, point: dict[str, Any] | None) -> dict[str, Any]:
        """The point of the next trial; `point`, if it was claimed with one."""
        seed = stable_seed("sampler", self._search.seed, self._name, self.asked) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = _Sampler(self._space, seed, self._search.startup)
        if point is not None:
            self._study.enqueue_trial(point)
        trial = self._study.ask(fixed_distributions=self._space)
        self._running[self.asked] = trial
        self.asked += 1
        return dict(trial.params)

    def tell(self, past: TrialRecord) -> None:
        """Tell Optuna how a trial ended; a stopped one is pruned, never complete."""
        trial = self._running.pop(past.number)
        if past.state == State.COMPLETE:
            self._study.tell(trial, past.score)
        elif past.state == State.FAILED:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            assert past.state == State.STOPPED, "only ended trials are told to Optuna"
            trial.report(past.score, len(past.scores))
            self._study.tell(trial, state=TrialState.PRUNED)


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
                means.append(mean(past.scores[:run]))

    def now(self) -> tuple[float | None, ...]:
        """For each seed but the last, the mean score above which a trial stops; None: no bar."""
        if len(self._means[0]) < self._startup:
            return (None,) * (len(self._means) - 1)
        return tuple(
            float(np.percentile(means, self._keep)) if means else None for means in self._means[:-1]
        )
