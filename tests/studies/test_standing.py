"""Whole columns say of trials what `history` says of them one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_ray.studies.history import most_seeds, rows_by_trial, trial_record
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.standing import TuningRows, standing

Row = dict[str, Any]
SCORES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 0.0, -0.0, 0.1, 0.2, 0.3])
_ROW = st.fixed_dictionaries(
    {
        "trial": st.integers(0, 4),
        "seed": st.integers(0, 3),
        # Rarely another one: that is out of the ordinary.
        "point": st.sampled_from("aaaaaaaaaaab"),
        "state": st.sampled_from([State.COMPLETE] * 4 + [State.STOPPED, State.FAILED]),
        "score": SCORES,
        "created": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    }
)
ROWS = st.lists(_ROW, min_size=1, max_size=12, unique_by=lambda row: (row["trial"], row["seed"]))


def completed(row: Row) -> Row:
    failed = row["state"] == State.FAILED
    told = {"score": math.nan if failed else row["score"], "failure": "NaN" if failed else None}
    return {**row, **told, "state": str(row["state"]), "purpose": "tuning"}


def columns_of(rows: list[Row], *, usual: bool = True) -> TuningRows:
    states = np.array([row["state"] for row in rows])
    return TuningRows(
        trial=np.array([row["trial"] for row in rows]),
        seed=np.array([row["seed"] for row in rows]),
        point=np.array([ord(row["point"]) for row in rows]),
        failed=states == State.FAILED,
        stopped=states == State.STOPPED,
        score=np.array([row["score"] for row in rows], dtype=float),
        usual=usual,
        rows=lambda: rows,
    )


def check(rows: list[Row], seeds: tuple[int, ...], *, usual: bool = True) -> None:
    by_trial = rows_by_trial(rows)
    told = [
        trial_record(number, of, seeds or most_seeds(by_trial.values()))
        for number, of in by_trial.items()
    ]
    found = standing(columns_of(rows, usual=usual), seeds)
    assert found.numbers.tolist() == [each.number for each in told]
    assert found.states.tolist() == [str(each.state) for each in told]
    # The same to the last bit: NaN, infinities and the sign of zero, too.
    assert [*map(repr, found.scores)] == [repr(each.score) for each in told]
    points = {number: next(iter(of.values()))["point"] for number, of in by_trial.items()}
    assert [rows[first]["point"] for first in found.first] == [*points.values()]
    for row, place in zip(rows, found.trial_of, strict=True):
        counts = row["point"] == points[row["trial"]]
        assert place == (found.numbers.tolist().index(row["trial"]) if counts else -1)


SEEDS = st.sampled_from([(), (0,), (0, 1), (2, 0, 1), (3, 1), (7,), (0, 1, 2, 3)])


@settings(max_examples=300, deadline=None)
@given(ROWS, SEEDS)
def test_any_rows(rows: list[Row], seeds: tuple[int, ...]) -> None:
    check([*map(completed, rows)], seeds)


@settings(max_examples=100, deadline=None)
@given(ROWS, SEEDS)
def test_any_rows_with_several_objectives(rows: list[Row], seeds: tuple[int, ...]) -> None:
    several = [{**completed(row), "score_2": 1.0} for row in rows]
    assert standing(columns_of(several, usual=False), seeds).records is not None
    check(several, seeds, usual=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=12), SEEDS)
def test_a_seed_may_come_twice(rows: list[Row], seeds: tuple[int, ...]) -> None:
    check([*map(completed, rows)], seeds)


def test_usual_studies_are_not_read_row_by_row() -> None:
    def never() -> list[Row]:
        raise AssertionError("rows were read")

    sound = {"point": "a", "state": State.COMPLETE, "created": "2026-01-01T00:00:00Z"}
    rows = [
        completed({**sound, "trial": trial, "seed": seed, "score": trial + 0.1 * seed})
        for trial in range(50)
        for seed in range(3)
    ]
    told = columns_of(rows)
    found = standing(TuningRows(**{**vars(told), "rows": never}), (0, 1, 2))
    assert found.records is None
    assert found.numbers.tolist() == [*range(50)]
