"""What each search tried: its complete trials, and the fields that it varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.keys import canonical
from unlearn_ray.report.records import records
from unlearn_ray.reporting.ranking import VIOLATION
from unlearn_ray.studies.history import hyperparameters_of
from unlearn_ray.studies.rows import State

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_TRIALS = 3
_WORDS = {None: "null", False: "false", True: "true"}


@dataclass(frozen=True)
class Search:
    """The complete trials of one study, the best first.

    Attributes:
        fields: the values of each searched field, one per trial.
        scores: of the trials.
        numbers: of the trials.
    """

    study: str
    fields: Mapping[str, list[Any]]
    scores: list[float]
    numbers: list[int]


def searches(trials: pd.DataFrame, studies: Sequence[str]) -> list[Search]:
    """The searches that varied a field in several complete trials.

    Args:
        trials: of a sweep; see `scored_trials`.
        studies: their names, in order.
    """
    trials = trials[(trials["state"] == State.COMPLETE) & trials["score"].notna()]
    beyond = trials[VIOLATION].fillna(0.0) if VIOLATION in trials else 0.0
    trials = trials.assign(beyond=beyond)
    found = []
    for study in studies:
        own = trials[trials["study"] == study].sort_values(["beyond", "score", "trial"])
        rows = records(own[["study", "trial", "score", "hyperparameters"]])
        points = [hyperparameters_of(row) for row in rows]
        names = sorted({name for point in points for name in point})
        fields = {name: [_plain(point.get(name)) for point in points] for name in names}
        varied = {name: each for name, each in fields.items() if len(set(map(str, each))) > 1}
        if varied and len(rows) >= _FEWEST_TRIALS:
            scores = [float(row["score"]) for row in rows]
            found.append(Search(study, varied, scores, [int(row["trial"]) for row in rows]))
    return found


def _plain(value: Any) -> Any:
    """Numbers as they are, all else as text."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return value if isinstance(value, str) else canonical(value)
