"""How the trials of a study stand, from whole columns of its rows.

It says what `history` says of each trial, row by row; in NumPy, as a store may hold a million rows.
Studies that are out of the ordinary are left to `history` itself: those with several objectives or
with constraints, and those whose rows name two points for one number, or a seed twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from unlearn_ray.studies.history import TrialRecord, most_seeds, rows_by_trial, trial_record
from unlearn_ray.studies.rows import State

# What `history` reads of a row, in addition to scores by further objectives and constraints.
READ = ("purpose", "trial", "point", "seed", "state", "failure", "score", "created")


@dataclass(frozen=True)
class TuningRows:
    """The tuning rows of one study, as columns.

    Attributes:
        trial, seed: of each row.
        point: a number for each point's hash.
        failed, stopped: whether the row has this state.
        score: NaN where there is none.
        usual: whether there is one objective, without constraints.
        rows: all of them, each with the columns that `history` reads.
    """

    trial: Int64[np.ndarray, " rows"]
    seed: Int64[np.ndarray, " rows"]
    point: Int64[np.ndarray, " rows"]
    failed: Bool[np.ndarray, " rows"]
    stopped: Bool[np.ndarray, " rows"]
    score: Float64[np.ndarray, " rows"]
    usual: bool
    rows: Callable[[], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Standing:
    """A study's trials, in the order of their numbers.

    Attributes:
        numbers: of the trials.
        states: of each.
        scores: of each, the mean over its seeds by the first objective; NaN without seeds.
        first: the position of a row of each.
        trial_of: for each row, the position of its trial in `numbers`; -1 for a row that counts
            for none, as its number has another point.
        records: the trials, where there are several objectives or constraints; else None.
    """

    numbers: Int64[np.ndarray, " trials"]
    states: np.ndarray
    scores: list[float]
    first: Int64[np.ndarray, " trials"]
    trial_of: Int64[np.ndarray, " rows"]
    records: list[TrialRecord] | None


def standing(rows: TuningRows, seeds: Sequence[int] = ()) -> Standing:
    """How a study's trials stand.

    Args:
        rows: at least one.
        seeds: the study's tuning seeds; if not given, those of its trial with the most.
    """
    numbers, first, trial_of = np.unique(rows.trial, return_index=True, return_inverse=True)
    if not rows.usual or not _are_usual(rows, first, trial_of, seeds):
        return _one_by_one(rows, seeds)
    if not seeds:
        most = int(np.argmax(np.bincount(trial_of)))
        seeds = sorted(rows.seed[trial_of == most].tolist())
    scores, known = _by_seed(rows, trial_of, len(numbers), seeds)
    ran = np.where(known.all(axis=1), len(seeds), np.argmin(known, axis=1))
    failed, stopped = (
        np.bincount(trial_of[of], minlength=len(numbers)) > 0 for of in (rows.failed, rows.stopped)
    )
    states = np.select(
        [failed, ran == len(seeds), stopped],
        [str(State.FAILED), str(State.COMPLETE), str(State.STOPPED)],
        str(State.UNFINISHED),
    )
    return Standing(numbers, states, _means(scores, ran), first, trial_of, None)


def _are_usual(
    rows: TuningRows,
    first: Int64[np.ndarray, " trials"],
    trial_of: Int64[np.ndarray, " rows"],
    seeds: Sequence[int],
) -> bool:
    """Whether every number has one point, and a row at most for each seed."""
    order = np.lexsort((rows.seed, trial_of))
    trial, seed = trial_of[order], rows.seed[order]
    twice = (trial[1:] == trial[:-1]) & (seed[1:] == seed[:-1])
    one_point = bool((rows.point == rows.point[first][trial_of]).all())
    return one_point and not twice.any() and len(set(seeds)) == len(seeds)


def _by_seed(
    rows: TuningRows, trial_of: Int64[np.ndarray, " rows"], trials: int, seeds: Sequence[int]
) -> tuple[Float64[np.ndarray, "trials seeds"], Bool[np.ndarray, "trials seeds"]]:
    """The scores of each trial on each seed, and where there is one."""
    scores = np.full((trials, len(seeds)), math.nan)
    known = np.zeros(scores.shape, dtype=bool)
    for place, seed in enumerate(seeds):
        own = (rows.seed == seed) & ~rows.failed
        scores[trial_of[own], place] = rows.score[own]
        known[trial_of[own], place] = True
    return scores, known


def _means(
    scores: Float64[np.ndarray, "trials seeds"], ran: Int64[np.ndarray, " trials"]
) -> list[float]:
    """The mean of each trial's first scores, exactly rounded as in `history`."""
    means = np.full(len(scores), math.nan)
    for count in set(ran.tolist()) - {0}:
        of = ran == count
        means[of] = [math.fsum(each) / count for each in scores[of, :count].tolist()]
    found: list[float] = means.tolist()
    return found


def _one_by_one(rows: TuningRows, seeds: Sequence[int]) -> Standing:
    """The same by `history`."""
    by_trial = rows_by_trial(
        {**row, "position": position} for position, row in enumerate(rows.rows())
    )
    seeds = seeds or most_seeds(by_trial.values())
    records = [trial_record(number, of, seeds) for number, of in by_trial.items()]
    first = [next(iter(of.values()))["position"] for of in by_trial.values()]
    numbers = np.array([*by_trial], dtype=np.int64)
    place = np.searchsorted(numbers, rows.trial)
    counts = rows.point == rows.point[first][place]
    return Standing(
        numbers,
        np.array([str(record.state) for record in records]),
        [record.score for record in records],
        np.array(first, dtype=np.int64),
        np.where(counts, place, -1),
        records,
    )
