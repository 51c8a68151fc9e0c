"""Trials with their scores over the tuning seeds, and the best trials of each study."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan, nan
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from unlearn_ray.studies.history import TrialRecord, winners
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES, State
from unlearn_ray.studies.standing import READ, Standing, TuningRows, standing

STUDY = ["sweep", "study", "study_key"]
TRIAL = [*STUDY, "trial"]
# Tuning seeds by study key, from sweeps or their manifests.
Tuning = Mapping[str, Sequence[int]]
UNKNOWN: Tuning = MappingProxyType({})

# In addition to what is read of every row, of sweeps with several objectives or constraints.
_OF_GOALS = (*FURTHER_SCORES, *EXCESSES)
VIOLATION, KNEE = "violation", "knee"
_NUMBERS = ("average_gap_percentage", "unlearning_compute_seconds")
_TEXTS = ("method", "hyperparameters", "failure")
# The columns that winners are chosen by.
WON_BY = frozenset({*TRIAL, *READ, *_OF_GOALS})
_RANKED_BY = WON_BY | {"average_gap", *_NUMBERS, *_TEXTS}


def is_ranked_by(column: str) -> bool:
    """Whether the functions here look at a column of rows."""
    return column in _RANKED_BY


def scored_trials(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """One row per trial of the tuning rows.

    States and scores are those of `unlearn_ray.studies.history`, as in planning. If a study's seeds
    are unknown, they are taken to be those of its trial with the most.

    Returns:
        sweep, study, study_key, trial, point, state, seeds, score, mean_average_gap,
        mean_average_gap_seed_std (ddof 1; NaN for one seed), mean_average_gap_percentage (NaN
        where a seed that has a gap has none), unlearning_compute_seconds (mean),
        method, hyperparameters, failure. With several objectives also the scores by the others,
        score_2 and so on; with constraints violation, 0 where all are kept.
    """
    own = rows[rows["purpose"] == "tuning"]
    stands, trial_of = _as_they_stand(own, tuning)
    by_seed = own["seed"].argsort()
    by_seed = by_seed[trial_of[by_seed] >= 0]
    own, trial_of = own.iloc[by_seed], trial_of[by_seed]
    # A column without any value has no type.
    numbers = own[["average_gap", *_NUMBERS]].astype(float)
    gaps = numbers["average_gap"].groupby(trial_of)
    without = numbers["average_gap"].notna() & numbers["average_gap_percentage"].isna()
    found = stands[[*TRIAL, "point", "state"]].assign(
        seeds=own["seed"].groupby(trial_of).nunique(),
        score=stands["score"],
        **{name: stands[name] for name in (*FURTHER_SCORES, VIOLATION) if name in stands},
        mean_average_gap=gaps.mean(),
        mean_average_gap_seed_std=gaps.std(),
        mean_average_gap_percentage=numbers["average_gap_percentage"].groupby(trial_of).mean(),
        unlearning_compute_seconds=numbers["unlearning_compute_seconds"].groupby(trial_of).mean(),
        **{name: own[name].groupby(trial_of).first() for name in _TEXTS},
    )
    found.loc[without.groupby(trial_of).any(), "mean_average_gap_percentage"] = nan
    return found


def _as_they_stand(
    own: pd.DataFrame, tuning: Tuning
) -> tuple[pd.DataFrame, Int64[np.ndarray, " rows"]]:
    """The state and scores of each study's trials, and of each row its trial's position there."""
    trial_of = np.full(len(own), -1, dtype=np.int64)
    parts: list[pd.DataFrame] = []
    points, before = own["point"].to_numpy(), 0
    for study in _studies(own, tuning):
        trials = study.trials
        part = {
            **dict(zip(STUDY, study.names, strict=True)),
            "trial": trials.numbers,
            "point": points[study.rows[trials.first]],
            "state": trials.states,
            "score": trials.scores,
        }
        parts.append(pd.DataFrame(part).join(_of_goals(trials.records or ())))
        counted = trials.trial_of >= 0
        trial_of[study.rows[counted]] = before + trials.trial_of[counted]
        before += len(trials.numbers)
    empty = pd.DataFrame(columns=[*TRIAL, "point", "state", "score"])
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    texts: list[Hashable] = [*STUDY, "point", "state"]
    frame = frame.astype(dict.fromkeys(texts, "str")).astype({"trial": "int64", "score": float})
    return frame, trial_of


def _of_goals(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Scores by further objectives, and violations of constraints, of trials that have them."""
    return pd.DataFrame(
        [
            dict(zip(FURTHER_SCORES, told.mark[2:], strict=False))
            | ({VIOLATION: told.violation} if told.excesses else {})
            for told in records
        ]
    )


@dataclass(frozen=True)
class _Study:
    """A study's sweep, name and key; the positions of its tuning rows; and how its trials stand."""

    names: tuple[str, ...]
    rows: Int64[np.ndarray, " rows"]
    trials: Standing


def _studies(own: pd.DataFrame, tuning: Tuning) -> Iterator[_Study]:
    """The studies of tuning rows, by name."""
    goals = [name for name in _OF_GOALS if name in own]
    columns = [*READ, *goals]
    unusual = own[goals].notna().any(axis=1).to_numpy()
    points, states = pd.factorize(own["point"])[0], own["state"]
    arrays = {name: own[name].to_numpy() for name in ("trial", "seed")}
    failed, stopped = ((states == state).to_numpy() for state in (State.FAILED, State.STOPPED))
    scores = own["score"].to_numpy(dtype=float, na_value=nan)

    def rows_of(rows: Int64[np.ndarray, " rows"]) -> Sequence[Mapping[Any, Any]]:
        return own[columns].iloc[rows].to_dict("records")

    for names, found in own.groupby(STUDY).indices.items():
        rows = np.asarray(found)
        told = TuningRows(
            trial=arrays["trial"][rows],
            seed=arrays["seed"][rows],
            point=points[rows],
            failed=failed[rows],
            stopped=stopped[rows],
            score=scores[rows],
            usual=not unusual[rows].any(),
            rows=partial(rows_of, rows),
        )
        study = tuple(map(str, names)) if isinstance(names, tuple) else (str(names),)
        yield _Study(study, rows, standing(told, tuning.get(study[-1], ())))


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
    own = rows[rows["purpose"] == "tuning"]
    return {study.names: _winners(study.trials) for study in _studies(own, tuning)}


def _winners(trials: Standing) -> list[Winner]:
    if trials.records is None:
        scores = np.array(trials.scores)
        complete = np.flatnonzero((trials.states == State.COMPLETE) & ~np.isnan(scores))
        if not len(complete):
            return []
        best = complete[np.argmin(scores[complete])]  # the first of those
        return [Winner(int(trials.numbers[best]), False, False, float(scores[best]), 0.0)]
    chosen = winners(told for told in trials.records if not isnan(told.score))
    several = any(len(told.mark) > 2 for told in chosen)
    return [
        Winner(told.number, several and not place, several, told.score, told.violation)
        for place, told in enumerate(chosen)
    ]


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
