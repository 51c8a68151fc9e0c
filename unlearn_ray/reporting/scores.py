"""The scores of many models, from the score rows of one sweep."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearn_ray.evidence.estimates import ESTIMATE, Estimate
from unlearn_ray.reporting.declared import headers_of, scores_of
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


_REFUSED = "_refused"


def score_headers(columns: Collection[str]) -> dict[str, str]:
    """The printed header of every known score's columns.

    Args:
        columns: of scores, as rows have them.
    """
    return headers_of(scores_of(columns))


def score_lines(
    rows: pd.DataFrame, winners: Mapping[str, tuple[str, str]]
) -> tuple[ScoreLine, ...]:
    """The estimates of a sweep, by column and then by study.

    Args:
        rows: of one sweep.
        winners: study key and point of each study's winner, in the order of the table; both are
            empty for reference models.
    """
    held = {name.removesuffix(_REFUSED) for name in rows.columns if name.endswith(_REFUSED)}
    scored = rows[(rows["purpose"] == "score") & (rows["state"] == State.COMPLETE)]
    order = {name: number for number, name in enumerate(winners)}
    newest: dict[tuple[str, int], Mapping[Any, Any]] = {}
    for row in scored.sort_values("created").to_dict("records"):
        if winners.get(row["study"]) == (row["study_key"], row["point"]):
            newest[row["study"], row["seed"]] = row
    kept = sorted(newest.values(), key=lambda row: (order[row["study"]], row["seed"]))
    return tuple(
        _line(row, column)
        for column in score_headers(held)
        if column in held
        for row in kept
        if isinstance(row[f"{column}{_REFUSED}"], str)
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
