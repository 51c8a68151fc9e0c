"""The scores of many models, from the score rows of one sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearn_ray.core.registry import parts
from unlearn_ray.scores.base import ESTIMATE, Estimate, Score
from unlearn_ray.studies.rows import State


@dataclass(frozen=True)
class ScoreLine:
    """One estimate of one kind of model.

    Attributes:
        study: its name, or a reference model's.
        seed: of the bank, or of the replicates' split.
        column: the estimate's column, as in rows.
    """

    study: str
    seed: int
    column: str
    estimate: Estimate


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
    """An estimate; of a refused one, columns that are empty in all rows are missing."""
    held: dict[str, Any] = {name: row.get(f"{column}_{name}") for name in ESTIMATE} | {
        "value": row.get(column)
    }
    models, refused = int(held.pop("models")), str(held.pop("refused"))
    numbers = {name: math.nan if each is None else float(each) for name, each in held.items()}
    return ScoreLine(
        study=row["study"],
        seed=int(row["seed"]),
        column=column,
        estimate=Estimate(**numbers, models=models, refused=refused),
    )
