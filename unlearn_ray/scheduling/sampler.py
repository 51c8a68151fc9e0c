"""What a study's trials are suggested, and what they must reach, as a function of its history.

Trial n is asked of Optuna when the trials 0 to n - window have been told, in the order of their
numbers, and the others before it have been asked: neither the time at which a trial happens to end
nor who ran it changes a suggestion. The sampler draws from a seed of the study and of n, so that a
study that is told from rows suggests what it would have suggested without the interruption.
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
    """Optuna's form of a range."""
    if field_range.kind == "choice":
        return CategoricalDistribution(list(field_range.choices))
    if field_range.kind == "int":
        return IntDistribution(int(field_range.low), int(field_range.high))
    return FloatDistribution(
        field_range.low, field_range.high, log=field_range.kind == "log_uniform"
    )


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


class Sampler:
    """Optuna's study behind one of a sweep's studies.

    Attributes:
        asked: how many trials have been asked for: the number of the next.

    Args:
        name: of the study.
        space: the searched fields.
        search: how they are searched.
    """

    def __init__(self, name: str, space: Mapping[str, Range], search: Search) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name = name
        # Fields are drawn one after the other; the order of a file's lines must not count.
        self._space = {field: distribution(space[field]) for field in sorted(space)}
        self._search = search
        self._study = optuna.create_study(direction="minimize", study_name=name)
        self._running: dict[int, optuna.Trial] = {}
        self.asked = 0

    def ask(self, point: dict[str, Any] | None) -> dict[str, Any]:
        """The searched fields of the next trial; `point`, where it was claimed with one."""
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
        """How a trial ended: never as complete with the score of the seeds that it did run."""
        trial = self._running.pop(past.number)
        if past.state == State.COMPLETE:
            self._study.tell(trial, past.score)
        elif past.state == State.FAILED:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            assert past.state == State.STOPPED, "only what has ended is told"
            trial.report(past.score, len(past.scores))
            self._study.tell(trial, state=TrialState.PRUNED)


class Bars:
    """How good a trial must be after each tuning seed to go on to the next.

    Its mean score over the seeds so far must be within the best `keep` percent of the means, over
    the same seeds, of every trial that ran them, whether that went on, was stopped, or is complete.
    (Optuna's percentile pruner compares the best step of a trial with complete trials alone, which
    lets a trial with one lucky seed run on, and raises the bar with time.)

    Args:
        search: with `keep`, and `startup`: trials that must have ended before any is stopped.
        seeds: how many tuning seeds there are.
    """

    def __init__(self, search: Search, seeds: int) -> None:
        self._keep = search.keep
        self._startup = search.startup
        self._means: list[list[float]] = [[] for _ in range(seeds)]

    def tell(self, past: TrialRecord) -> None:
        """Count a trial that has ended; one that failed has no score to compare with."""
        if past.state != State.FAILED:
            for run, means in enumerate(self._means[: len(past.scores)], start=1):
                means.append(mean(past.scores[:run]))

    def now(self) -> tuple[float | None, ...]:
        """After each seed but the last, the mean score beyond which a trial ends; None: no bar."""
        if len(self._means[0]) < self._startup:
            return (None,) * (len(self._means) - 1)
        return tuple(
            float(np.percentile(means, self._keep)) if means else None for means in self._means[:-1]
        )
