"""Several objectives and constraints: what a sweep file says of them, and rows of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.results.rows import METRICS, SETTING, SPREAD
from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.sweep_text import sweep_text
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.objectives.base import Objective
from unlearn_ray.objectives.constraints import Constraint
from unlearn_ray.objectives.goal import Goal
from unlearn_ray.objectives.unlearning_seconds import UnlearningSeconds
from unlearn_ray.objectives.weighted_gap import WeightedGap
from unlearn_ray.studies.history import excesses_of, score_of
from unlearn_ray.studies.rows import Hours, Keys, Origin, Seconds, State, Subject, row
from unlearn_ray.studies.study import study_key

RETRAINED = {"retain_accuracy": 90.0, "test_accuracy": 80.0, "forgetting_score": 0.0, **SPREAD}
VALUES = {"retain_accuracy": 94.0, "test_accuracy": 77.0, "forgetting_score": 0.3, **SPREAD}
GAP = (4 + 3) / 2


def made(objective: Objective, state: State = State.COMPLETE, **values: float) -> dict[str, Any]:
    return row(
        Subject("small", "s", "tuning", "finetune", 0, 0),
        SETTING,
        METRICS,
        objective,
        state=state,
        values=None if state == State.FAILED else {**VALUES, **values},
        reference=RETRAINED,
        seconds=Seconds(unlearning=2.5),
        hours=Hours(),
        keys=Keys(),
        origin=Origin(None, frozenset(), "here", {}, ""),
    )


def test_a_row_has_a_score_by_each_objective_and_what_is_beyond_each_constraint() -> None:
    constraints = tuple(
        map(Constraint.parse, ["test_accuracy_gap <= 1", "retain_accuracy >= 93.5"])
    )
    goal = Goal(objectives=(AverageGap(), UnlearningSeconds()), constraints=constraints)
    found = made(goal)
    assert (found["score"], found["score_2"]) == (GAP, 2.5)
    assert (found["constraint_1"], found["constraint_2"]) == (2.0, -0.5)
    assert found["objective"] == (
        "average_gap, unlearning_seconds; test_accuracy_gap <= 1; retain_accuracy >= 93.5"
    )
    assert score_of(found) == (GAP, 2.5)
    assert excesses_of(found) == (2.0, -0.5)
    failed = made(goal, State.FAILED)
    assert {failed[name] for name in ("score", "score_2", "constraint_1")} == {None}
    # What is no number keeps no bound.
    assert made(goal, test_accuracy=math.nan)["constraint_1"] == math.inf


def test_one_objective_adds_no_column() -> None:
    plain = made(AverageGap())
    assert not {"score_2", "constraint_1"} & plain.keys()
    assert score_of(plain) == GAP
    assert excesses_of(plain) == ()


def test_gaps_in_percent_of_the_retrained_models_values() -> None:
    def score(**weights: float) -> Any:
        return made(WeightedGap(weights=weights, unit="percent"))["score"]

    assert score(test_accuracy=1.0) == pytest.approx(100 * 3 / 80)
    both = score(test_accuracy=1.0, retain_accuracy=3.0)
    assert both == pytest.approx((100 * 3 / 80 + 3 * 100 * 4 / 90) / 4)
    # A retrained value of 0 counts as 0.1.
    assert score(forgetting_score=1.0) == pytest.approx(100 * 0.3 / 0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_gap <= 1", Constraint(column="a_gap", sense="<=", bound=1.0)),
        ("  a>=-1e-3 ", Constraint(column="a", sense=">=", bound=-0.001)),
    ],
)
def test_constraints_are_read_as_written(text: str, expected: Constraint) -> None:
    assert Constraint.parse(text) == expected
    assert Constraint.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("constraints: [test_acuracy_gap <= 1]", "no column .*did you mean test_accuracy_gap"),
        ("constraints: [emia_efficacy <= 1]", "no column that is measured in trials"),
        ("constraints: [test_accuracy < 1]", "not `column <= number`"),
        ("constraints: [test_accuracy <= many]", "many is not a number"),
        ("constraints: [test_accuracy <= 1e999]", "1e999 is not finite"),
        ("constraints: [test_accuracy <= 1, test_accuracy <= 1.0]", "listed twice"),
        ("constraints: test_accuracy <= 1", "a list of constraints is expected"),
        ("constraints: [test_accuracy_excess <= 1]", "divides by noise floors"),
        ("constraints: [{test_accuracy: 1}]", "not `column <= number`"),
        ("objective: [average_gap, average_gap]", "listed twice"),
        ("objective: []", "no objective"),
        ("objective: [average_gap, avrage_excess]", "did you mean average_excess"),
        ("objective: [average_excess, unlearning_seconds]", "divides by noise floors"),
        ("objective: unlearning_seconds", "the cheapest is to do nothing"),
        (f"constraints: [{', '.join(f'test_accuracy <= {n}' for n in range(13))}]", "more than 12"),
    ],
)
def test_what_no_trial_could_keep_is_refused_at_its_line(
    tmp_path: Path, more: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: (objective|constraints).*{message}"):
        tiny_sweep(tmp_path, f"{SWEEP}{more}\n")


def test_a_list_of_one_is_that_one_and_keys_tell_goals_apart(tmp_path: Path) -> None:
    def key(more: str) -> str:
        sweep = tiny_sweep(tmp_path, f"{SWEEP}{more}\n")
        return study_key(sweep, sweep.studies[0])

    usual = key("")
    assert key("objective: [average_gap]") == key("constraints: []") == usual
    several = "objective: [average_gap, unlearning_seconds]"
    assert len(
        {
            usual,
            key(several),
            key("objective: [unlearning_seconds, average_gap]"),
            key("constraints: [test_accuracy_gap <= 1]"),
            key("constraints: [test_accuracy_gap <= 2]"),
            key(f"{several}\nconstraints: [test_accuracy_gap <= 1]"),
        }
    ) == 6  # fmt: skip


def test_trials_measure_what_objectives_and_constraints_read(tmp_path: Path) -> None:
    def measured(more: str) -> list[str]:
        text = SWEEP.replace("test_accuracy]", "test_accuracy, forget_accuracy]")
        return [metric.name for metric in tiny_sweep(tmp_path, f"{text}{more}\n").scored_by]

    weighted = "{weighted_gap: {weights: {forget_accuracy: 1}}}"
    assert measured(f"objective: [{weighted}, unlearning_seconds]") == ["forget_accuracy"]
    constrained = "constraints: [retain_accuracy >= 90]"
    assert measured(f"objective: {weighted}\n{constrained}") == [
        "retain_accuracy",
        "forget_accuracy",
    ]
    cheapest = "objective: unlearning_seconds\nconstraints: [average_gap <= 2]"
    assert len(measured(cheapest)) == 3


def test_a_sweep_written_out_is_read_back(tmp_path: Path) -> None:
    text = (
        f"{SWEEP}objective: [average_gap, unlearning_seconds]\n"
        "constraints: [test_accuracy_gap <= 1.25]\n"
        "search: {sampler: {tpe: {n_ei_candidates: 30}}, pruner: none}\n"
    )
    sweep = tiny_sweep(tmp_path, text)
    again = tiny_sweep(tmp_path, sweep_text(sweep))
    assert again == sweep
    assert again.objective == Goal(
        objectives=(AverageGap(), UnlearningSeconds()),
        constraints=(Constraint(column="test_accuracy_gap", sense="<=", bound=1.25),),
    )
