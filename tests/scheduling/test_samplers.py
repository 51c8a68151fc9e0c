"""Optuna's samplers by name: a study rebuilt from rows goes on as if it had never stopped."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from unlearn_ray.config.searchers import SAMPLERS, Known
from unlearn_ray.config.sweep_schema import Named, Search
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.sampler import Sampler
from unlearn_ray.studies.history import TrialRecord
from unlearn_ray.studies.rows import State

NUMBERS = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "beta": Range("uniform", 0.0, 20.0),
    "epochs": Range("int", 1, 9),
}
CHOICES = {**NUMBERS, "schedule": Range("choice", choices=("cosine", "constant"))}
# Every point of a grid is one of few values.
FEW = {"epochs": Range("int", 1, 5), "schedule": Range("choice", choices=("a", "b", "c"))}
TRIALS = 24
# Small enough for a second generation.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "nsga2": {"population_size": 4},
    "nsga3": {"population_size": 4},
    "gp": {"n_startup_trials": 8},
    "qmc": {"scramble": True},
    "cma_es": {"popsize": 4},
}


class Drifting(BaseSampler):  # type: ignore[misc]
    """Keeps in the study how often it was asked, and suggests that."""

    def __init__(self, step: float = 0.1) -> None:
        self.step = step

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        asked = study.user_attrs.get("asked", 0) + 1
        study.set_user_attr("asked", asked)
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        if name in ("epochs", "schedule"):
            return RandomSampler(seed=0).sample_independent(study, trial, name, distribution)
        return distribution.low + self.step * study.user_attrs["asked"] * 1e-4


def installed(name: str, known: Known) -> bool:
    return known.package is None or importlib.util.find_spec(known.package) is not None


NAMES = [name for name, known in SAMPLERS.items() if installed(name, known)]
CASES = [
    (name, objectives, constrained)
    for name, objectives, constrained in itertools.product(NAMES, (1, 2), (False, True))
    if (objectives == 1 or SAMPLERS[name].several)
    and (not constrained or SAMPLERS[name].constrained)
]


def searched(name: str) -> dict[str, Range]:
    if name == "grid":
        return FEW
    return CHOICES if name not in SAMPLERS or SAMPLERS[name].choices else NUMBERS


def ended(
    number: int, point: dict[str, Any], objectives: int, constrained: bool, flipped: bool = False
) -> TrialRecord:
    """Every fifth trial fails, every third is stopped."""
    numbers = [float(value) for value in point.values() if not isinstance(value, str)]
    first = abs(sum(numbers) - 7) * (-1 if flipped else 1)
    score = first if objectives == 1 else (first, 10 - numbers[0])
    if number % 5 == 4:
        return TrialRecord(number, point, (), State.FAILED, "loss is NaN")
    seeds = 1 if number % 3 == 2 else 2
    state = State.STOPPED if seeds == 1 else State.COMPLETE
    excesses = ((numbers[0] - 4.0,),) * seeds if constrained else ()
    return TrialRecord(number, point, (score,) * seeds, state, excesses=excesses)


def points(
    named: Named,
    space: dict[str, Range],
    known: list[dict[str, Any]],
    *,
    objectives: int = 1,
    constrained: bool = False,
    count: int = TRIALS,
    window: int = 3,
    flipped: bool = False,
) -> list[dict[str, Any]]:
    """The points of a study whose first ones are known from rows."""
    sampler = Sampler("scrub", space, Search(startup=4, sampler=named), objectives)
    found: list[dict[str, Any]] = []
    for number in range(count):
        if number >= window:
            told = number - window
            sampler.tell(ended(told, found[told], objectives, constrained, flipped))
        found.append(sampler.ask(known[number] if number < len(known) else None))
    return found


def count_for(name: str) -> int:
    return {"grid": 15, "gp": 20}.get(name, TRIALS)


@pytest.mark.parametrize(("name", "objectives", "constrained"), CASES)
def test_a_study_rebuilt_after_any_trial_goes_on_the_same(
    name: str, objectives: int, constrained: bool
) -> None:
    of: dict[str, Any] = {
        "objectives": objectives,
        "constrained": constrained,
        "count": count_for(name),
    }
    named = {name: OPTIONS.get(name)}
    space = searched(name)
    whole = points(named, space, [], **of)
    if name != "grid":
        assert len({tuple(point.values()) for point in whole}) > TRIALS / 2
    # A model takes a while to fit, from trial 16 on: rebuilt where it begins, and where it ends.
    rebuilt = (5, 17, 19) if name == "gp" else range(1, count_for(name))
    for known in rebuilt:
        assert points(named, space, whole[:known], **of) == whole, known


@pytest.mark.parametrize("name", NAMES)
def test_results_count_but_where_none_do(name: str) -> None:
    named = {name: OPTIONS.get(name)}

    def run(flipped: bool) -> list[dict[str, Any]]:
        return points(named, searched(name), [], count=count_for(name), flipped=flipped)

    usual, flipped = run(False), run(True)
    assert usual[:3] == flipped[:3]
    assert (usual != flipped) == (name not in ("random", "grid", "qmc"))


def test_a_grid_has_each_point_once() -> None:
    grid = points("grid", FEW, [], count=15)
    assert len({tuple(point.values()) for point in grid}) == 15
    # In no order of the fields, and in another one with another seed.
    assert grid != sorted(grid, key=lambda point: tuple(point.values()))
    other = Sampler("scrub", FEW, Search(seed=1, sampler="grid"))
    assert [other.ask(None) for _ in range(15)] != grid


def test_a_sequence_covers_the_space_evenly() -> None:
    found = points("qmc", {"beta": Range("uniform", 0.0, 16.0)}, [], count=16)
    assert sorted(int(point["beta"]) for point in found) == list(range(16))


def test_one_of_your_own_by_its_import_path() -> None:
    named = {f"{__name__}.Drifting": {"step": 2.0}}
    whole = points(named, CHOICES, [])
    assert [point["beta"] for point in whole[:3]] == pytest.approx([2e-4, 4e-4, 6e-4])
    for known in range(1, TRIALS):
        assert points(named, CHOICES, whole[:known]) == whole


def test_constraints_and_several_scores_are_told_to_optuna() -> None:
    sampler = Sampler("scrub", CHOICES, Search(), 2)
    point, _ = sampler.ask(None), sampler.ask(None)
    beyond = ((1.0, -2.0), (2.0, -4.0))
    complete = TrialRecord(0, point, ((1.0, 5.0), (3.0, 6.0)), State.COMPLETE, excesses=beyond)
    sampler.tell(complete)
    sampler.tell(TrialRecord(1, point, ((1.0, 5.0),), State.STOPPED, excesses=((9.0, 0.0),)))
    first, second = sampler._study.trials
    assert first.values == [2.0, 5.5]
    assert first.constraints == {"1": 1.5, "2": -3.0}
    assert (second.state, second.values) == (TrialState.PRUNED, None)
    assert second.constraints == {"1": 9.0, "2": 0.0}


def test_a_sampler_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ConfigError, match=r"cma_es: the package cmaes is not installed; pip inst"):
        Sampler("scrub", NUMBERS, Search(sampler="cma_es"))


def test_the_options_of_a_person_go_before_the_searchs_own() -> None:
    sampler = Sampler("scrub", NUMBERS, Search(startup=7, sampler={"tpe": {"n_startup_trials": 3}}))
    sampler.ask(None)
    assert sampler._study.sampler._n_startup_trials == 3
    assert Path(__file__).stem == Drifting.__module__.rpartition(".")[2]
