"""Trials with their scores over the tuning seeds, and the best trial of each study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from types import MappingProxyType

import pandas as pd

from unlearn_ray.studies.history import most_seeds, rows_by_trial, trial_record
from unlearn_ray.studies.rows import State

STUDY = ["sweep", "study", "study_key"]
TRIAL = [*STUDY, "trial"]
# Tuning seeds by study key, from sweeps or their manifests.
Tuning = Mapping[str, Sequence[int]]
UNKNOWN: Tuning = MappingProxyType({})

_READ = ["purpose", "trial", "point", "seed", "state", "failure", "score", "created"]
_NUMBERS = ("average_gap_percentage", "unlearning_compute_seconds")


def scored_trials(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """One row per trial of the tuning rows.

    States and scores come from `unlearn_ray.studies.history`, as in planning. If a study's seeds
    are unknown, they are taken to be those of its trial with the most.

    Returns:
        sweep, study, study_key, trial, point, state, seeds, score, mean_average_gap,
        mean_average_gap_seed_std (ddof 1; NaN for one seed), mean_average_gap_percentage (NaN
        where a seed that has a gap has none), unlearning_compute_seconds (mean),
        method, hyperparameters, failure.
    """
    own = rows[rows["purpose"] == "tuning"].sort_values("seed")
    # A column without any value has no type.
    own = own.astype(dict.fromkeys(("average_gap", *_NUMBERS), float)).copy()
    without = own["average_gap"].notna() & own["average_gap_percentage"].isna()
    own = own.assign(without_percentage=without).drop(columns=["state", "score"])
    trials = (
        own.merge(_as_they_stand(rows, tuning), on=[*TRIAL, "point"])
        .groupby(TRIAL, as_index=False, dropna=False)
        .agg(
            point=("point", "first"),
            state=("state", "first"),
            seeds=("seed", "nunique"),
            score=("score", "first"),
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


def _as_they_stand(rows: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """The state and score of each study's trials."""
    lines = []
    for names, part in rows[rows["purpose"] == "tuning"].groupby(STUDY):
        read = part[_READ].itertuples(index=False)
        trials = rows_by_trial(dict(zip(_READ, row, strict=True)) for row in read)
        seeds = tuning.get(str(names[-1])) or most_seeds(trials.values())
        for number, by_seed in trials.items():
            told = trial_record(number, by_seed, seeds)
            point = next(iter(by_seed.values()))["point"]
            lines.append((*names, number, point, str(told.state), told.score))
    return pd.DataFrame(lines, columns=[*TRIAL, "point", "state", "score"]).astype(
        {**dict.fromkeys([*STUDY, "point", "state"], "str"), "trial": "int64", "score": float}
    )


def best_trials(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> pd.DataFrame:
    """The complete trial of each study with the smallest score; ties go to the first.

    Returns:
        The columns of `scored_trials` without state and failure, and how many trials of the
        study are complete, stopped, failed and unfinished; ordered by sweep and score.
        A study without a complete trial has no row.
    """
    trials = scored_trials(rows, tuning)
    counts = trials.pivot_table(
        index=STUDY, columns="state", values="trial", aggfunc="count", fill_value=0
    ).reindex(columns=list(map(str, State)), fill_value=0)
    complete = trials[(trials["state"] == State.COMPLETE) & trials["score"].notna()]
    best = complete.sort_values(["score", "trial"]).drop_duplicates(STUDY)
    best = best.merge(counts.reset_index(), on=STUDY, how="left").drop(columns=["state", "failure"])
    for name in ("method", "hyperparameters"):  # what was run; the widest column last
        best[name] = best.pop(name)
    return best.sort_values(["sweep", "score", "study"], ignore_index=True)
