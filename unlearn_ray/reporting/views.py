"""Views over rows: winners and reference models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.reporting.ranking import Tuning, is_ranked_by, scored_trials
from unlearn_ray.reporting.table import comparisons, is_compared
from unlearn_ray.studies.rows import State


def winners(rows: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """One row per study with a winner: what `compare` shows, unrounded.

    Of a Pareto front, one per member, with `knee`. Numbers are over the reporting seeds, which the
    winner was not chosen on.
    """
    frames = [each.frame() for each in comparisons(rows, tuning=tuning)]
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    is_study = ~found["study"].isin((ORIGINAL, RETRAIN)) & found["trial"].notna()
    return found[is_study].reset_index(drop=True)


def references(rows: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """One row per complete reference model and seed."""
    complete = (rows["purpose"] == "reference") & (rows["state"] == State.COMPLETE)
    return rows[complete].reset_index(drop=True)


VIEWS: Mapping[str, Callable[[pd.DataFrame, Tuning], pd.DataFrame]] = {
    "winners": winners,
    "trials": scored_trials,
    "references": references,
}

# Whether a view looks at a column of rows.
READ: Mapping[str, Callable[[str], bool]] = {
    "winners": is_compared,
    "trials": is_ranked_by,
    "references": lambda _: True,
}
