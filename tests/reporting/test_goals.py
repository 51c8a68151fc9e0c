"""Tables of Pareto fronts and of constraints, against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from tests.results.rows import RETRAINED, frame, one_row, small_sweep
from unlearn_ray.reporting.query import query
from unlearn_ray.reporting.ranking import best_trials, scored_trials
from unlearn_ray.reporting.render import markdown, plain_text
from unlearn_ray.reporting.table import comparison, models_of
from unlearn_ray.reporting.views import VIEWS
from unlearn_ray.studies.rows import State

NAMES = "average_gap, unlearning_seconds"
# Gap and seconds by trial: the last is dominated, trial 2 is the knee.
TRIALS = {0: (9.0, 1.0), 1: (1.0, 9.0), 2: (2.0, 2.0), 3: (9.5, 9.5)}


def of_trial(
    number: int, seed: int, purpose: Any, gap: float, seconds: float, **more: Any
) -> dict[str, Any]:
    kept = RETRAINED[seed]["retain_accuracy"], RETRAINED[seed]["test_accuracy"]
    found = one_row(
        "finetune", seed, kept[0] - gap, kept[1] - gap, purpose=purpose, trial=number,
        seconds=seconds, learning_rate=0.01 * (number + 1),
    )  # fmt: skip
    return {**found, "objective": NAMES, "score_2": seconds, **more}


def two_objectives(reported: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    rows = [
        of_trial(number, seed, "tuning", *TRIALS[number]) for number in TRIALS for seed in (0, 1)
    ]
    rows += [
        of_trial(number, seed, "reporting", *TRIALS[number])
        for number in reported
        for seed in (2, 3)
    ]
    # Another study, of one objective, in the same table.
    rows += [row for row in small_sweep() if row["study"] == "neggrad"]
    return frame(rows)


def test_each_member_of_a_front_has_a_line_and_the_knee_is_marked() -> None:
    table = comparison(two_objectives())
    names = [line.study for line in table.lines]
    assert names == ["retrain", "finetune #1", "finetune #2 (knee)", "finetune #0", "neggrad"]
    assert [line.knee for line in table.lines] == [None, False, True, False, None]
    assert [line.own_name for line in table.lines[1:4]] == ["finetune"] * 3
    gaps = [line.average_gap_of_means for line in table.lines[1:4]]
    assert gaps == pytest.approx([1.0, 2.0, 9.0])
    assert any("Pareto front of average_gap, unlearning_seconds" in note for note in table.notes)
    assert "finetune #2 (knee)" in plain_text(table)
    assert "finetune #1 (trial 1): " in markdown(table)


def test_members_that_are_not_reported_yet_have_no_line() -> None:
    table = comparison(two_objectives(reported=(2,)))
    assert [line.study for line in table.lines] == ["retrain", "finetune #2 (knee)", "neggrad"]
    none = comparison(two_objectives(reported=()))
    assert [line.study for line in none.lines] == ["retrain", "finetune", "neggrad"]
    assert none.lines[1].note.startswith("no row on a reporting seed")


def test_views_and_best_have_a_row_for_each_member() -> None:
    rows = two_objectives()
    winners = VIEWS["winners"](rows, {})
    assert list(zip(winners["study"], winners["trial"], winners["knee"], strict=True)) == [
        ("finetune", 1, False), ("finetune", 2, True), ("finetune", 0, False), ("neggrad", 1, None)
    ]  # fmt: skip
    best = best_trials(rows)
    of_front = best[best["study"] == "finetune"]
    assert list(of_front["trial"]) == [1, 2, 0]
    assert list(of_front["knee"]) == [False, True, False]
    assert list(of_front["score_2"]) == pytest.approx([9.0, 2.0, 1.0])
    assert list(of_front["complete"]) == [4, 4, 4]
    trials = scored_trials(rows)
    assert trials.loc[trials["study"] == "neggrad", "score_2"].isna().all()
    assert list(models_of(rows)) == [
        "retrain", "original", "finetune #0", "finetune #1", "finetune #2 (knee)", "neggrad"
    ]  # fmt: skip


def test_with_one_objective_nothing_is_added() -> None:
    rows = frame(small_sweep())
    added = {"knee", "score_2", "violation", "of_study"}
    for made in (*(view(rows, {}) for view in VIEWS.values()), best_trials(rows)):
        assert not added & set(made.columns)
    assert not added & set(comparison(rows).frame().columns)


def test_a_winner_that_breaks_the_constraints_is_said_to() -> None:
    beyond = {0: 8.0, 1: 0.5, 2: 1.5, 3: 9.0}
    rows = [
        {**of_trial(n, seed, "tuning", *TRIALS[n]), "score_2": None, "constraint_1": beyond[n]}
        for n in TRIALS
        for seed in (0, 1)
    ]
    rows += [of_trial(1, seed, "reporting", 1.0, 9.0) for seed in (2, 3)]
    found = frame([{**row, "objective": "average_gap; test_accuracy_gap <= 0.5"} for row in rows])
    found = found.drop(columns="score_2")
    table = comparison(found)
    assert table.lines[1].trial == 1
    said = "finetune: no complete trial keeps the constraints (average_gap; test_accuracy_gap <="
    assert any(note.startswith(said) for note in table.notes)
    (best,) = best_trials(found).to_dict("records")
    assert (best["trial"], best["violation"]) == (1, 0.5)
    # One that keeps them comes first, though its score is larger.
    kept = found.assign(
        constraint_1=[-1.0 if trial == 0 else 0.5 for trial in found["trial"]],
    )
    (best,) = best_trials(kept).to_dict("records")
    assert (best["trial"], best["violation"]) == (0, 0.0)
    notes = comparison(kept).notes
    assert not any("constraints" in note for note in notes)


def test_a_stopped_trial_is_on_no_front() -> None:
    rows = two_objectives()
    own = (rows["trial"] == 1) & (rows["purpose"] == "tuning") & (rows["study"] == "finetune")
    rows.loc[own & (rows["seed"] == 0), "state"] = str(State.STOPPED)
    stopped = rows[~(own & (rows["seed"] == 1))]
    assert [line.study for line in comparison(stopped).lines][1:3] == [
        "finetune #2 (knee)",
        "finetune #0",
    ]


def test_sql_over_fronts() -> None:
    import pyarrow as pa

    table = pa.Table.from_pandas(two_objectives(), preserve_index=False)
    answer = query(table, "SELECT trial FROM winners WHERE knee").to_pydict()
    assert answer == {"trial": [2]}
