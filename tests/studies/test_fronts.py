"""Pareto fronts, knees and ranks, held against naive computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.studies.fronts import Rank, Vector, dominates, front, knee, mark
from unlearn_ray.studies.history import TrialRecord, excesses_of, score_of, winner, winners
from unlearn_ray.studies.rows import State

SCORES = st.integers(0, 5).map(float)
MARKS = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 1.0, 2.0]), SCORES, SCORES), max_size=25)


def complete(number: int, *means: float, beyond: Vector = ()) -> TrialRecord:
    excesses = (beyond, beyond) if beyond else ()
    return TrialRecord(number, {}, (means, means), State.COMPLETE, excesses=excesses)


def test_a_mark_is_the_violation_and_the_means_over_the_seeds() -> None:
    assert mark(((1.0, 4.0), (3.0, 4.0))) == (0.0, 2.0, 4.0)
    assert mark((1.0, 2.0)) == (0.0, 1.5)
    # Seed by seed the first constraint is broken once; its mean keeps the bound.
    assert mark((1.0, 2.0), ((2.0, -1.0), (-3.0, 2.0))) == (0.5, 1.5)
    assert mark((1.0, 2.0), ((math.inf,), (-math.inf,)))[0] == math.inf


@given(MARKS)
def test_a_front_holds_what_nothing_dominates_and_equals_once(marks: list[Vector]) -> None:
    best = front(marks)
    naive = {
        each
        for each in marks
        if not any(
            (other[0], 0, 0) < (each[0], 0, 0)
            or (other[0] == each[0] and other != each and np.all(np.less_equal(other, each)))
            for other in marks
        )
    }
    assert [marks[position] for position in best] == sorted(naive)
    assert best == [marks.index(marks[position]) for position in best]


def test_marks_that_are_no_numbers_or_lack_an_objective_are_on_no_front() -> None:
    assert front([(0.0, math.nan, 1.0), (0.0, 5.0, 5.0), (0.0, 1.0)]) == [1]
    assert front([]) == []


def test_the_knee_is_nearest_to_the_best_of_each_objective() -> None:
    assert knee([(0.0, 0.0, 10.0), (0.0, 2.0, 2.0), (0.0, 10.0, 0.0)]) == 1
    # In other units the knee is the same.
    assert knee([(0.0, 0.0, 1e4), (0.0, 0.02, 2e3), (0.0, 0.1, 0.0)]) == 1
    assert knee([(0.0, 3.0, 3.0)]) == 0
    # Both ends are as far away: the better by the first objective.
    assert knee([(0.0, 4.0, 0.0), (0.0, 0.0, 4.0)]) == 1


@given(MARKS.filter(bool), MARKS.filter(bool), st.integers(0, 30))
def test_the_marks_that_a_bar_holds_decide_as_all_would(
    marks: list[Vector], own: list[Vector], most: int
) -> None:
    ranks = [sum(dominates(other, each) for other in marks) for each in marks]
    kept = tuple(each for each, rank in zip(marks, ranks, strict=True) if rank <= most)
    for violation, *scores in own:
        stops = Rank(most, kept).stops([tuple(scores)], [(violation,)])
        assert stops == (sum(dominates(other, (violation, *scores)) for other in marks) > most)


def test_the_winner_is_the_knee_and_every_member_is_reported() -> None:
    trials = [
        complete(0, 9.0, 9.0),
        complete(1, 10.0, 0.0),
        complete(2, 2.0, 2.0),
        complete(3, 0.0, 10.0),
        complete(4, 2.0, 2.0),
        TrialRecord(5, {}, ((0.0, 0.0),), State.STOPPED),
        TrialRecord(6, {}, (), State.FAILED, "loss is NaN"),
    ]
    assert [trial.number for trial in winners(trials)] == [2, 3, 1]
    best = winner(trials)
    assert best is not None
    assert (best.number, best.score) == (2, 2.0)
    assert winners(trials[5:]) == []


def test_with_one_objective_the_winner_is_alone_whatever_its_ties() -> None:
    trials = [TrialRecord(n, {}, (float(n % 2), 1.0), State.COMPLETE) for n in range(4)]
    assert [trial.number for trial in winners(reversed(trials))] == [0]


def test_a_trial_that_keeps_the_constraints_comes_before_any_that_does_not() -> None:
    def single(number: int, score: float, *beyond: float) -> TrialRecord:
        return TrialRecord(number, {}, (score,), State.COMPLETE, excesses=(beyond,))

    best = winner([single(0, 1.0, 0.5), single(1, 9.0, -0.5), single(2, 8.0, 0.0)])
    assert best is not None
    assert (best.number, best.violation) == (2, 0.0)
    # If none does, the one that breaks them least.
    best = winner([single(0, 1.0, 0.5), single(1, 9.0, 0.25)])
    assert best is not None
    assert (best.number, best.violation) == (1, 0.25)
    several = winners([complete(0, 0.0, 0.0, beyond=(1.0,)), complete(1, 5.0, 5.0, beyond=(-1.0,))])
    assert [trial.number for trial in several] == [1]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_rows_of_other_sweeps_in_the_table_add_no_objective(missing: float | None) -> None:
    row = {"score": 1.0, "score_2": 2.0, "score_3": missing, "constraint_1": missing}
    assert score_of(row) == (1.0, 2.0)
    assert excesses_of(row) == ()
    assert score_of({"score": 1, "score_2": missing}) == 1.0
