"""Trials with their scores over the tuning seeds, and the best trials of each study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from types import MappingProxyType
from typing import Any

import pandas as pd

from unlearn_ray.studies.history import (
    TrialRecord,
    most_seeds,
    rows_by_trial,
    trial_record,
    winners,
)
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES, State

STUDY = ["sweep", "study", "study_key"]
TRIAL = [*STUDY, "trial"]
# Tuning seeds by study key, from sweeps or their manifests.
Tuning = Mapping[str, Sequence[int]]
UNKNOWN: Tuning = MappingProxyType({})

_READ = ["purpose", "trial", "point", "seed", "state", "failure", "score", "created"]
# In addition, of sweeps with several objectives or constraints.
_OF_GOALS = (*FURTHER_SCORES, *EXCESSES)
VIOLATION, KNEE = "violation", "knee"
_NUMBERS = ("average_gap_percentage", "unlearning_compute_seconds")


def scored_trials(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """One row per trial of the tuning rows.

    States and scores come from `unlearn_ray.studies.history`, as in planning. If a study's seeds
    are unknown, they are taken to be those of its trial with the most.

    Returns:
        sweep, study, study_key, trial, point, state, seeds, score, mean_average_gap,
        mean_average_gap_seed_std (ddof 1; NaN for one seed), mean_average_gap_percentage (NaN
        where a seed that has a gap has none), unlearning_compute_seconds (mean),
        method, hyperparameters, failure. With several objectives also the scores by the others,
        score_2 and so on; with constraints violation, 0 where all are kept.
    """
    own = rows[rows["purpose"] == "tuning"].sort_values("seed")
    # A column without any value has no type.
    own = own.astype(dict.fromkeys(("average_gap", *_NUMBERS), float)).copy()
    without = own["average_gap"].notna() & own["average_gap_percentage"].isna()
    own = own.assign(without_percentage=without).drop(columns=["state", "score"])
    stands = _as_they_stand(rows, tuning)
    more = [name for name in (*FURTHER_SCORES, VIOLATION) if name in stands]
    own = own.drop(columns=[name for name in more if name in own])
    trials = (
        own.merge(stands, on=[*TRIAL, "point"])
        .groupby(TRIAL, as_index=False, dropna=False)
        .agg(
            point=("point", "first"),
            state=("state", "first"),
            seeds=("seed", "nunique"),
            score=("score", "first"),
            **{name: (name, "first") for name in more},
            mean_average_gap=("average_gap", "mean"),
            mean_average_gap_seed_std=("average_gap", "std"),
            mean_average_gap_percentage=("average_gap_percentage", "mean"),
            unlearning_compute_seconds=("unlearning_compute_seconds", "mean"),
            method=("method", "first"),
            hyperparameters=("hyperparameters", "first"),
            failure=("failure", "first"),
            without_percentage=("without_percentage", "any"),
        )
    )
    trials.loc[trials.pop("without_percentage").astype(bool), "mean_average_gap_percentage"] = nan
    return trials


# A study's sweep, name and key; each of its trials with its point's hash.
Recorded = tuple[tuple[str, ...], list[tuple[str, TrialRecord]]]


def _recorded(rows: pd.DataFrame, tuning: Tuning) -> Iterator[Recorded]:
    """The trials of each study, in the order of their numbers."""
    columns = [*_READ, *(name for name in _OF_GOALS if name in rows)]
    for names, part in rows[rows["purpose"] == "tuning"].groupby(STUDY):
        read = part[columns].itertuples(index=False)
        trials = rows_by_trial(dict(zip(columns, row, strict=True)) for row in read)
        seeds = tuning.get(str(names[-1])) or most_seeds(trials.values())
        yield (
            tuple(map(str, names)),
            [
                (str(next(iter(by_seed.values()))["point"]), trial_record(number, by_seed, seeds))
                for number, by_seed in trials.items()
            ],
        )


def _as_they_stand(rows: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """The state and scores of each study's trials."""
    lines: list[dict[str, Any]] = []
    for names, trials in _recorded(rows, tuning):
        for point, told in trials:
            of_trial = dict(zip(TRIAL, (*names, told.number), strict=True))
            of_trial |= {"point": point, "state": str(told.state), "score": told.score}
            of_trial |= dict(zip(FURTHER_SCORES, told.mark[2:], strict=False))
            lines.append(of_trial | ({VIOLATION: told.violation} if told.excesses else {}))
    frame = pd.DataFrame(lines, columns=None if lines else [*TRIAL, "point", "state", "score"])
    return frame.astype(
        {**dict.fromkeys([*STUDY, "point", "state"], "str"), "trial": "int64", "score": float}
    )


@dataclass(frozen=True)
class Winner:
    """A trial of a study that is reported.

    Attributes:
        number: the trial's.
        knee: whether it is the knee of a Pareto front of several objectives.
        on_front: whether it is a member of such a front.
        score: by the first objective.
        violation: by how much it breaks the constraints.
    """

    number: int
    knee: bool
    on_front: bool
    score: float
    violation: float


def winners_of(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> dict[tuple[str, ...], list[Winner]]:
    """The trials that are reported of each study: its winner, then further members of a front.

    A study is its sweep, its name and its key; it has no trials if none is complete.
    """
    found = {}
    for names, trials in _recorded(rows, tuning):
        chosen = winners(told for _, told in trials if not isnan(told.score))
        several = any(len(told.mark) > 2 for told in chosen)
        found[names] = [
            Winner(told.number, several and not place, several, told.score, told.violation)
            for place, told in enumerate(chosen)
        ]
    return found


def best_trials(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """The winner of each study, and with several objectives every member of its Pareto front.

    The winner is the complete trial with the smallest score, among those that keep the
    constraints if any does; ties go to the first. Of a front it is the knee.

    Returns:
        The columns of `scored_trials` without state and failure, and how many trials of the
        study are complete, stopped, failed and unfinished; ordered by sweep and score. With
        several objectives also `knee`. A study without a complete trial has no row.
    """
    trials = scored_trials(rows, tuning)
    counts = trials.pivot_table(
        index=STUDY, columns="state", values="trial", aggfunc="count", fill_value=0
    ).reindex(columns=list(map(str, State)), fill_value=0)
    chosen = [
        (*names, one.number, one.knee, one.on_front)
        for names, several in winners_of(rows, tuning).items()
        for one in several
    ]
    marked = pd.DataFrame(chosen, columns=[*TRIAL, KNEE, "on_front"]).astype(
        {**dict.fromkeys(STUDY, "str"), "trial": "int64"}
    )
    if not marked.pop("on_front").any():
        marked = marked.drop(columns=KNEE)
    best = trials.merge(marked, on=TRIAL)
    best = best.merge(counts.reset_index(), on=STUDY, how="left").drop(columns=["state", "failure"])
    for name in ("method", "hyperparameters"):  # what was run; the widest column last
        best[name] = best.pop(name)
    return best.sort_values(["sweep", "score", "study"], ignore_index=True)
