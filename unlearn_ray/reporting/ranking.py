"""Trials, scored over their tuning seeds, and the best of each study."""

from __future__ import annotations

from math import nan

import pandas as pd

STUDY = ["sweep", "method", "study"]
TRIAL = [*STUDY, "trial"]

_NUMBERS = ("average_gap", "average_gap_percentage", "unlearning_compute_seconds")


def scored_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trial of the tuning rows.

    A trial is complete when every one of its rows is and it was run on as many seeds as any
    other trial of its study; its score is the mean of its seeds' average gaps.

    Returns:
        sweep, method, study, trial, point, state, seeds, mean_average_gap,
        mean_average_gap_seed_std (ddof 1; NaN for one seed), mean_average_gap_percentage (NaN
        where a seed that has a gap has none), unlearning_compute_seconds (mean),
        unlearning_method, hyperparameters, failure.
    """
    tuning = rows[rows["purpose"] == "tuning"].sort_values("seed")
    # A column without a single value has no type.
    tuning = tuning.astype(dict.fromkeys(_NUMBERS, float))
    without = tuning["average_gap"].notna() & tuning["average_gap_percentage"].isna()
    tuning = tuning.assign(without_percentage=without)
    trials = tuning.groupby(TRIAL, as_index=False, dropna=False).agg(
        point=("point", "first"),
        state=("state", _state),
        seeds=("seed", "nunique"),
        mean_average_gap=("average_gap", "mean"),
        mean_average_gap_seed_std=("average_gap", "std"),
        mean_average_gap_percentage=("average_gap_percentage", "mean"),
        unlearning_compute_seconds=("unlearning_compute_seconds", "mean"),
        unlearning_method=("unlearning_method", "first"),
        hyperparameters=("hyperparameters", "first"),
        failure=("failure", "first"),
        without_percentage=("without_percentage", "any"),
    )
    trials.loc[trials.pop("without_percentage").astype(bool), "mean_average_gap_percentage"] = nan
    most = trials.groupby(STUDY, dropna=False)["seeds"].transform("max")
    trials.loc[(trials["state"] == "complete") & (trials["seeds"] < most), "state"] = "stopped"
    return trials


def _state(states: pd.Series[str]) -> str:
    found = set(states)
    return next((state for state in ("failed", "stopped") if state in found), "complete")


def best_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """The complete trial of each study with the smallest mean average gap; of equals, the first.

    Returns:
        The columns of `scored_trials` without state and failure, and how many trials of the
        study were complete, stopped and failed; ordered by sweep and mean average gap. A study
        without a complete trial has no line.
    """
    trials = scored_trials(rows)
    counts = trials.pivot_table(
        index=STUDY, columns="state", values="trial", aggfunc="count", fill_value=0
    ).reindex(columns=["complete", "stopped", "failed"], fill_value=0)
    complete = trials[(trials["state"] == "complete") & trials["mean_average_gap"].notna()]
    best = complete.sort_values(["mean_average_gap", "trial"]).drop_duplicates(STUDY)
    best = best.merge(counts.reset_index(), on=STUDY, how="left").drop(columns=["state", "failure"])
    for name in ("unlearning_method", "hyperparameters"):  # what was run; the widest column last
        best[name] = best.pop(name)
    return best.sort_values(["sweep", "mean_average_gap", "method"], ignore_index=True)
