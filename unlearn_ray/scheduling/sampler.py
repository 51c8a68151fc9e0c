"""Suggestions for a study's trials, as functions of its history.

Trial n is requested from Optuna (ask) once the results of trials 0 to n - window have been
reported (tell), in the order of their numbers, and the others before n have been asked for: neither
the time at which a trial ends nor the driver that ran it changes a suggestion. Optuna's sampler is
made anew for each trial, with a seed that is derived from the study and n, so that a study restored
from rows continues with the same suggestions. What a sampler keeps from trial to trial, it keeps in
the study: it makes a suggestion for each trial whose point is known, too, and so keeps the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from unlearn_ray.config.sweep_schema import Search
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.samplers import SamplerMaker
from unlearn_ray.studies.fronts import mean, means
from unlearn_ray.studies.history import TrialRecord
from unlearn_ray.studies.rows import State


def distribution(field_range: Range) -> BaseDistribution:
    """The Optuna distribution of a range; of the numbers of its values, if it is `indexed`."""
    if field_range.kind == "choice":
        return CategoricalDistribution(list(field_range.choices))
    if field_range.indexed:
        assert field_range.count is not None
        return IntDistribution(0, field_range.count - 1)
    if field_range.kind in ("int", "log_int"):
        low, high = field_range.ends
        step, log = int(field_range.step or 1), field_range.kind == "log_int"
        return IntDistribution(low, high, log=log, step=step)
    return FloatDistribution(
        field_range.low, field_range.high, log=field_range.kind == "log_uniform"
    )


# Optuna's models of constraints compute with squares.
_LARGEST_EXCESS = 1e12


def _suggested(trial: optuna.Trial, name: str, of: BaseDistribution) -> Any:
    """The value of a field that is asked for alone."""
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(name, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(name, of.low, of.high, step=of.step, log=of.log)
    assert isinstance(of, FloatDistribution)
    return trial.suggest_float(name, of.low, of.high, log=of.log)


class Sampler:
    """The Optuna study behind one of a sweep's studies.

    Attributes:
        asked: how many trials have been asked for, which is the number of the next.

    Args:
        name: of the study.
        space: the searched fields.
        search: the search settings.
        objectives: how many there are.
    """

    def __init__(
        self, name: str, space: Mapping[str, Range], search: Search, objectives: int = 1
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._name = name
        # Fields are drawn in turn; the order of lines in a file must not matter.
        self._ranges = {field: space[field] for field in sorted(space)}
        # Drawn jointly; those with a condition are drawn alone, after the fields that decide it.
        self._space = {name: distribution(r) for name, r in self._ranges.items() if not r.when}
        self._search = search
        self._maker = SamplerMaker(search, self._space, objectives)
        self._study = optuna.create_study(directions=["minimize"] * objectives, study_name=name)
        self._running: dict[int, optuna.Trial] = {}
        self.asked = 0

    def ask(self, point: dict[str, Any] | None) -> dict[str, Any]:
        """The point of the next trial; `point`, if it was claimed with one."""
        # One of a sequence has the same seed throughout.
        number = (self.asked,) if self._maker.each_its_seed else ()
        seed = stable_seed("sampler", self._search.seed, self._name, *number) % 2**32
        self._study.sampler = self._maker.sampler(seed)
        if point is not None:
            self._study.enqueue_trial(
                {
                    name: self._ranges[name].index(value) if self._ranges[name].indexed else value
                    for name, value in point.items()
                }
            )
        if self._maker.keeps:
            # Optuna asks the sampler of a known point for nothing, unless it is made to.
            trial = self._study.ask()
            _ = trial.relative_params
            for name, known in self._space.items():
                _suggested(trial, name, known)
        else:
            trial = self._study.ask(fixed_distributions=self._space)
        self._running[self.asked] = trial
        self.asked += 1
        return self._completed(trial)

    def _completed(self, trial: optuna.Trial) -> dict[str, Any]:
        """The point of a trial, once the fields with a condition are drawn, too."""

        def value(name: str, drawn: Any) -> Any:
            return self._ranges[name].value(drawn) if self._ranges[name].indexed else drawn

        found = {name: value(name, drawn) for name, drawn in trial.params.items()}
        for name, field_range in self._ranges.items():
            if field_range.when and field_range.is_searched(found):
                found[name] = value(name, _suggested(trial, name, distribution(field_range)))
        return dict(sorted(found.items()))

    def tell(self, past: TrialRecord) -> None:
        """Tell Optuna how a trial ended; a stopped one is pruned, never complete."""
        trial = self._running.pop(past.number)
        for number, excess in enumerate(map(mean, zip(*past.excesses, strict=True)), start=1):
            trial.set_constraint(f"{number}", min(excess, _LARGEST_EXCESS))
        if past.state == State.COMPLETE:
            self._study.tell(trial, list(means(past.scores)))
        elif past.state == State.FAILED:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            assert past.state == State.STOPPED, "only ended trials are told to Optuna"
            if len(self._study.directions) == 1:  # of several objectives Optuna takes no reports
                trial.report(past.score, len(past.scores))
            self._study.tell(trial, state=TrialState.PRUNED)
