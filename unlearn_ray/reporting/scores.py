"""The scores of many models, from the score rows of one sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearn_ray.core.registry import parts
from unlearn_ray.scores.base import Score
from unlearn_ray.studies.rows import State

_NUMBERS = ("low", "high", "null", "null_low", "null_high")


@dataclass(frozen=True)
class ScoreLine:
    """One estimate of one kind of model.

    Attributes:
        study: its name, or a reference model's.
        seed: of the bank, or of the replicates' split.
        column: the estimate's column, as in rows.
        value, low, high: NaN if it was refused.
        null, null_low, null_high: what is to be expected where there is nothing to find.
        models: the number of models behind it.
        refused: why there is no value; "" if there is one.
    """

    study: str
    seed: int
    column: str
    value: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    models: int
    refused: str


def score_headers() -> dict[str, str]:
    """The printed header of every registered score's columns."""
    return {
        column: header
        for score in parts(Score).values()
        for column, header in score.columns.items()
    }


def score_lines(
    rows: pd.DataFrame, winners: Mapping[str, tuple[str, str]]
) -> tuple[ScoreLine, ...]:
    """The estimates of a sweep, by column and then by study.

    Args:
        rows: of one sweep.
        winners: study key and point of each study's winner, in the order of the table; both are
            empty for reference models.
    """
    scored = rows[(rows["purpose"] == "score") & (rows["state"] == State.COMPLETE)]
    order = {name: number for number, name in enumerate(winners)}
    newest: dict[tuple[str, int], Mapping[Any, Any]] = {}
    for row in scored.sort_values("created").to_dict("records"):
        if winners.get(row["study"]) == (row["study_key"], row["point"]):
            newest[row["study"], row["seed"]] = row
    kept = sorted(newest.values(), key=lambda row: (order[row["study"]], row["seed"]))
    return tuple(
        _line(row, column)
        for column in score_headers()
        if f"{column}_refused" in rows.columns
        for row in kept
        if isinstance(row[f"{column}_refused"], str)
    )


def _line(row: Mapping[Any, Any], column: str) -> ScoreLine:
    estimates = {"value": row[column], **{name: row[f"{column}_{name}"] for name in _NUMBERS}}
    return ScoreLine(
        study=row["study"],
        seed=int(row["seed"]),
        column=column,
        models=int(row[f"{column}_models"]),
        refused=row[f"{column}_refused"],
        **{name: math.nan if each is None else float(each) for name, each in estimates.items()},
    )
