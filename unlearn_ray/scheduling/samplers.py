"""Optuna's samplers by name, over a space that is known from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler
from optuna.trial import FrozenTrial, TrialState

from unlearn_ray.config.searchers import QMC, TPE, Chosen, chosen_sampler
from unlearn_ray.config.sweep_schema import GRID, Search

Space = Mapping[str, BaseDistribution]
# These suggest from a trial's number and the results alone, and keep nothing in Optuna's study.
_KEEP_NOTHING = (TPE, "gp", "random", GRID)
# The points of one sequence, which has one seed.
_SEQUENCES = (GRID, QMC)
# The parameter of samplers that begin with random trials.
_STARTUP = "n_startup_trials"


class SamplerMaker:
    """Makes the sampler of each trial of a study.

    Attributes:
        each_its_seed: whether the sampler of each trial has a seed of its own.
        keeps: whether a sampler may keep something in Optuna's study from trial to trial.

    Args:
        search: names the sampler.
        space: the searched fields.
        objectives: how many there are.

    Raises:
        ConfigError: there is no such sampler, or it refuses an option.
    """

    def __init__(self, search: Search, space: Space, objectives: int) -> None:
        self._chosen = chosen_sampler(search)
        self.each_its_seed = self._chosen.name not in _SEQUENCES
        self.keeps = self._chosen.name not in _KEEP_NOTHING
        self._own: dict[str, Any] = {}
        if self._chosen.takes(_STARTUP):
            self._own[_STARTUP] = search.startup
        if self._chosen.name == TPE:
            # As Optuna does: fields jointly for one objective, each by itself for several.
            self._own["multivariate"] = objectives == 1
        if self._chosen.name == GRID:
            self._own["search_space"] = {name: _values(known) for name, known in space.items()}
        self._seeded = self._chosen.takes("seed")
        self._cls = _over(space, self._chosen, self._own)

    def sampler(self, seed: int) -> BaseSampler:
        """A sampler with this seed, if it takes one."""
        seeded = {"seed": seed} if self._seeded else {}
        return self._chosen.build(self._cls, **self._own, **seeded)


def _over(space: Space, chosen: Chosen, own: Mapping[str, Any]) -> type[BaseSampler]:
    """The sampler's class, over this space: it would infer it from all trials, each time."""
    if chosen.name == GRID:
        return _Grid
    cls: type[BaseSampler] = chosen.load()
    options = {**own, **chosen.options}
    jointly = options.get("multivariate", True) and not options.get("group", False)
    if chosen.is_imported or not jointly:
        return cls
    known = {
        name: each
        for name, each in space.items()
        if not each.single()
        and (chosen.known.choices or not isinstance(each, CategoricalDistribution))
    }

    class Over(cls):  # type: ignore[misc]
        def infer_relative_search_space(
            self, study: optuna.Study, trial: FrozenTrial
        ) -> dict[str, BaseDistribution]:
            return known

    return Over


class _Grid(GridSampler):  # type: ignore[misc]
    """Trial n is the n-th point of a shuffled grid."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Does nothing: Optuna's would stop a loop, and there is none."""


def _values(known: BaseDistribution) -> list[Any]:
    """The values of a distribution that has finitely many."""
    if isinstance(known, CategoricalDistribution):
        return list(known.choices)
    assert isinstance(known, IntDistribution), "planning refuses continuous fields"
    return list(range(known.low, known.high + 1, known.step))
