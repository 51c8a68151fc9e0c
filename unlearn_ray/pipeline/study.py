"""A study's history: its trials as the rows in the store tell them.

Rows are the only memory of a search. A study that starts anew reads them, tells the sampler
what was finished, goes on with what was begun, and runs the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.keys import content_key
from unlearn_ray.pipeline.rows import Purpose
from unlearn_ray.pipeline.sweep_schema import Study, Sweep

REFERENCES = "references"

Row = Mapping[str, Any]


def study_key(sweep: Sweep, study: Study) -> str:
    """What a study's suggestions and scores depend on; not how many trials it is to have."""
    search = sweep.search
    return content_key(
        {
            "method": study.method.name,
            **({} if study.own_name is None else {"name": study.own_name}),
            "fixed": study.fixed,
            "space": {name: vars(field) for name, field in study.space.items()},
            "setting": sweep.setting,
            "search": {"seed": search.seed, "startup": search.startup, "keep": search.keep},
            "tuning": sweep.seeds.tuning,
        }
    )


def row_name(study: str, sweep: str, purpose: Purpose, trial: int, seed: int) -> str:
    """The name of a row in the store: writing it twice is harmless."""
    return f"{study}/{sweep}/{purpose}-{trial:06d}-{seed}"


def reference_row_name(setting_key: str, sweep: str, method: str, seed: int) -> str:
    """The name of a reference model's row."""
    return f"{REFERENCES}/{setting_key}/{sweep}/{method}-{seed}"


@dataclass(frozen=True)
class PastTrial:
    """One trial of a study, as its rows tell it.

    Attributes:
        number: counted from 0 within the study.
        point: the searched fields.
        gaps: average gap of each tuning seed that was run, in the order of the seeds.
        state: `unfinished` has neither all seeds nor a row that says it ended.
    """

    number: int
    point: dict[str, Any]
    gaps: tuple[float, ...]
    state: Literal["complete", "stopped", "failed", "unfinished"]

    @property
    def score(self) -> float:
        """Mean average gap over the seeds that were run."""
        return mean(self.gaps)


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, exactly rounded; NaN of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def past_trials(rows: Iterable[Row], sweep: Sweep, study: Study) -> list[PastTrial]:
    """The trials of a study in the order of their numbers, whichever sweep ran them."""
    key = study_key(sweep, study)
    by_trial: dict[int, dict[int, Row]] = {}
    for row in rows:
        if row["study"] == key and row["purpose"] == "tuning":
            by_trial.setdefault(int(row["trial"]), {})[int(row["seed"])] = row
    return [_past(number, by_trial[number], sweep, study) for number in sorted(by_trial)]


def _past(number: int, rows: dict[int, Row], sweep: Sweep, study: Study) -> PastTrial:
    first = next(iter(rows.values()))
    try:
        values = json.loads(first["hyperparameters"])
        point = {name: values[name] for name in study.space}
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptObject(
            f"row of trial {number} of {study.name}",
            f"its hyperparameters cannot be read ({error!r})",
            "delete the row and run the sweep again",
        ) from error
    states = {row["state"] for row in rows.values()}
    gaps: list[float] = []
    for seed in sweep.seeds.tuning:
        if seed not in rows or rows[seed]["state"] == "failed":
            break
        gaps.append(float(rows[seed]["average_gap"]))
    if "failed" in states:
        state: Literal["complete", "stopped", "failed", "unfinished"] = "failed"
    elif len(gaps) == len(sweep.seeds.tuning):
        state = "complete"
    else:
        state = "stopped" if "stopped" in states else "unfinished"
    return PastTrial(number, point, tuple(gaps), state)


def winner(trials: Iterable[PastTrial]) -> PastTrial | None:
    """The complete trial with the smallest mean gap; of equals the first."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: (trial.score, trial.number)) if complete else None
