"""What Optuna is told, and what a restart changes: nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from unlearn_ray.config.sweep_schema import Search
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.sampler import Sampler, distribution
from unlearn_ray.studies.history import TrialRecord
from unlearn_ray.studies.rows import State

SPACE = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "beta": Range("uniform", 0.0, 20.0),
    "positive_similarity": Range("choice", choices=("tempered", "cosine")),
}
POINT = {"learning_rate": 0.01, "beta": 2.0, "positive_similarity": "cosine"}


def gap(point: dict[str, Any]) -> float:
    wrong = 0.0 if point["positive_similarity"] == "cosine" else 1.0
    return abs(point["beta"] - 7) + 30 * point["learning_rate"] + wrong


def ended(number: int, point: dict[str, Any]) -> TrialRecord:
    """Every fifth trial fails, every third is stopped."""
    if number % 5 == 4:
        return TrialRecord(number, point, (), State.FAILED, "loss is NaN")
    if number % 3 == 2:
        return TrialRecord(number, point, (gap(point),), State.STOPPED)
    return TrialRecord(number, point, (gap(point), gap(point) + 0.1), State.COMPLETE)


def points(window: int, count: int, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points of a study whose first ones are known already."""
    sampler = Sampler("alignment_calibration", SPACE, Search(startup=4))
    found: list[dict[str, Any]] = []
    for number in range(count):
        if number >= window:
            sampler.tell(ended(number - window, found[number - window]))
        found.append(sampler.ask(known[number] if number < len(known) else None))
    return found


@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_restart_anywhere_suggests_the_same(window: int) -> None:
    whole = points(window, 30, [])
    assert len({tuple(point.values()) for point in whole}) == 30
    for known in (1, 3, 9, 15, 29):
        assert points(window, 30, whole[:known]) == whole


def test_a_result_changes_what_comes_after_the_window_alone() -> None:
    def run(first: float) -> list[dict[str, Any]]:
        sampler = Sampler("alignment_calibration", SPACE, Search(startup=1))
        found: list[dict[str, Any]] = []
        for number in range(12):
            if number >= 5:
                told = number - 5
                scores = (first if told == 0 else gap(found[told]),)
                sampler.tell(TrialRecord(told, found[told], scores, State.COMPLETE))
            found.append(sampler.ask(None))
        return found

    small, large = run(0.0), run(1000.0)
    assert small[:6] == large[:6]  # one result is no order
    assert small[7:] != large[7:]


def test_the_order_of_a_files_lines_does_not_count() -> None:
    def asked(space: dict[str, Range]) -> list[dict[str, Any]]:
        sampler = Sampler("finetune", space, Search(startup=3))
        found = []
        for number in range(8):
            found.append(sampler.ask(None))
            sampler.tell(ended(number, found[-1]))
        return found

    assert asked(SPACE) == asked(dict(reversed(SPACE.items())))


def test_what_ended_is_told_as_what_it_is() -> None:
    sampler = Sampler("finetune", SPACE, Search())
    for _ in range(4):
        sampler.ask(POINT)
    sampler.tell(TrialRecord(0, POINT, (3.0, 5.0, 4.0), State.COMPLETE))
    sampler.tell(TrialRecord(1, POINT, (9.0, 11.0), State.STOPPED))
    sampler.tell(TrialRecord(2, POINT, (2.0,), State.FAILED, "loss is NaN"))
    told = sampler._study.trials
    assert [trial.state for trial in told] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert [trial.value for trial in told] == [4.0, 10.0, None, None]
    assert told[1].intermediate_values == {2: 10.0}
    assert all(trial.params == POINT for trial in told)


@pytest.mark.parametrize("window", [1, 4, 17])
def test_a_known_space_changes_no_suggestion(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggestions() -> list[dict[str, Any]]:
        space = {**SPACE, "epochs": Range("int", 1, 9), "views": Range("int", 2, 2)}
        sampler = Sampler("finetune", space, Search(startup=5))
        found: list[dict[str, Any]] = []
        for number in range(60):
            if number >= window:
                sampler.tell(ended(number - window, found[number - window]))
            found.append(sampler.ask(None))
        return found

    ours = suggestions()
    monkeypatch.setattr(
        "unlearn_ray.scheduling.samplers._over", lambda space, chosen, own: TPESampler
    )
    assert suggestions() == ours


@pytest.mark.parametrize(
    ("field_range", "expected"),
    [
        (Range("uniform", 1, 2), FloatDistribution(1, 2)),
        (Range("log_uniform", 1e-3, 1), FloatDistribution(1e-3, 1, log=True)),
        (Range("int", 2, 9), IntDistribution(2, 9)),
        (Range("choice", choices=("a", "b")), CategoricalDistribution(["a", "b"])),
        (Range("log_int", 1, 100), IntDistribution(1, 100, log=True)),
        (Range("int", 1, 9, step=2), IntDistribution(1, 9, step=2)),
        # The numbers of the values, which are in order.
        (Range("uniform", 0, 1, step=0.1), IntDistribution(0, 10)),
        (Range("grid", choices=(0.5, 1.0, 8.0)), IntDistribution(0, 2)),
    ],
)
def test_ranges_are_optunas_distributions(field_range: Range, expected: BaseDistribution) -> None:
    assert distribution(field_range) == expected


CONDITIONAL = {
    "epochs": Range("log_int", 1, 100),
    "lambda_ul": Range("grid", choices=(0.3, 1.0, 3.0, 10.0)),
    "queue_momentum": Range("uniform", 0.5, 1.0, step=0.1, when={"variant": ("queue",)}),
    "queue_size": Range("int", 10, 50, step=10, when={"variant": ("queue",)}),
    "variant": Range("choice", choices=("batch", "queue")),
}


def conditional_points(window: int, count: int, known: list[dict[str, Any]]) -> list[Any]:
    sampler = Sampler("contrastive_unlearning", CONDITIONAL, Search(startup=6))
    found: list[dict[str, Any]] = []
    for number in range(count):
        if number >= window:
            told = found[number - window]
            score = told["lambda_ul"] + told.get("queue_momentum", 2.0)
            sampler.tell(TrialRecord(number - window, told, (score,), State.COMPLETE))
        found.append(sampler.ask(known[number] if number < len(known) else None))
    return found


@pytest.mark.parametrize("window", [1, 4])
def test_conditional_fields_are_in_the_points_of_those_that_search_them(window: int) -> None:
    whole = conditional_points(window, 40, [])
    for point in whole:
        inner = {"queue_momentum", "queue_size"} & point.keys()
        assert len(inner) == (2 if point["variant"] == "queue" else 0)
        assert list(point) == sorted(point)
        assert all(CONDITIONAL[name].holds(value) for name, value in point.items()), point
    assert {point["variant"] for point in whole} == {"batch", "queue"}
    # What no restart changes.
    for known in (1, 7, 20, 39):
        assert conditional_points(window, 40, whole[:known]) == whole


def test_results_steer_fields_that_only_some_trials_search() -> None:
    late = [point for point in conditional_points(1, 60, [])[40:] if point["variant"] == "queue"]
    assert len(late) > 10
    assert np.mean([point["queue_momentum"] for point in late]) < 0.7
