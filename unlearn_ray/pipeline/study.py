"""A study's history: its trials as the rows in the store tell them.

Rows are the only memory of a search. A study that starts anew reads them, tells the sampler
what was finished, goes on with what was begun, and runs the rest. A trial is its point: rows of
different points are never taken for one trial, whatever number they carry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.gaps import REVISION
from unlearn_ray.core.keys import content_key, plain
from unlearn_ray.pipeline.rows import Purpose
from unlearn_ray.pipeline.sweep_schema import Study, Sweep
from unlearn_ray.steps.kinds.measure import Measure
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.stored import json_value

REFERENCES = "references"
# What a score stands on; other kinds of steps change no search.
SCORED = (Pretrain, Retrain, Unlearn, Samples, Observe, Measure)

Row = Mapping[str, Any]


def study_identity(sweep: Sweep, study: Study) -> dict[str, Any]:
    """What a study's suggestions and scores depend on, in plain JSON values.

    Not how many trials it is to have, nor what is measured beside the objective.
    """
    search = sweep.search
    identity = {
        "method": study.method.code_identity(),
        "name": study.own_name,
        "fixed": study.fixed,
        "space": {name: vars(field) for name, field in study.space.items()},
        **problem(sweep),
        "search": {
            "seed": search.seed,
            "startup": search.startup,
            "keep": search.keep,
            "window": search.lag,
        },
        "tuning": sweep.seeds.tuning,
    }
    result: dict[str, Any] = plain(identity)
    return result


def problem(sweep: Sweep) -> dict[str, Any]:
    """What all scores of a sweep depend on: its setting, its objective, and how steps are run."""
    return {
        "setting": sweep.setting,
        "objective": {"name": "average_gap", "revision": REVISION, "metrics": sweep.objective},
        "observed": [metric.needs() for metric in sweep.objective],
        "steps": [kind.code_identity() for kind in SCORED],
    }


def study_key(sweep: Sweep, study: Study) -> str:
    """The study's identity, hashed."""
    return content_key(study_identity(sweep, study))


def point_key(point: Mapping[str, Any]) -> str:
    """A point's content, hashed: what names a trial."""
    return content_key(point)


def row_name(
    study: str, sweep: str, purpose: Purpose, trial: int, point: Mapping[str, Any], seed: int
) -> str:
    """The name of a row in the store: writing it twice is harmless."""
    return f"{study}/{sweep}/{purpose}-{trial:06d}-{point_key(point)}-{seed}"


def references_folder(sweep: Sweep) -> str:
    """What the names of rows of reference models begin with."""
    return f"{REFERENCES}/{content_key(problem(sweep))}/"


def reference_row_name(sweep: Sweep, method: str, seed: int) -> str:
    """The name of a reference model's row."""
    return f"{references_folder(sweep)}{sweep.name}/{method}-{seed}"


@dataclass(frozen=True)
class PastTrial:
    """One trial of a study, as its rows tell it.

    Attributes:
        number: counted from 0 within the study.
        point: the searched fields.
        gaps: average gap of each tuning seed that was run, in the order of the seeds.
        state: `unfinished` has neither all seeds nor a row that says it ended.
        failure: why it failed; None otherwise.
    """

    number: int
    point: dict[str, Any]
    gaps: tuple[float, ...]
    state: Literal["complete", "stopped", "failed", "unfinished"]
    failure: str | None = None

    @property
    def score(self) -> float:
        """Mean average gap over the seeds that were run."""
        return mean(self.gaps)


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, exactly rounded; NaN of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def past_trials(rows: Iterable[Row], sweep: Sweep, study: Study) -> list[PastTrial]:
    """The trials that a sweep wants of a study, in the order of their numbers.

    Whichever sweep ran them: another one may want more of the same study.

    A number has one point: it is claimed with it. Where stores were merged by hand it may have
    several; then the one whose rows were made first is the trial.
    """
    key, wanted = study_key(sweep, study), sweep.trials(study)
    by_number: dict[int, dict[str, dict[int, Row]]] = {}
    for row in rows:
        if row["study"] == key and row["purpose"] == "tuning" and row["trial"] < wanted:
            points = by_number.setdefault(int(row["trial"]), {})
            points.setdefault(row["point"], {})[int(row["seed"])] = row
    return [
        past_trial(number, min(by_number[number].items(), key=_made)[1], sweep, study)
        for number in sorted(by_number)
    ]


def _made(rows_of_point: tuple[str, dict[int, Row]]) -> tuple[str, str]:
    point, rows = rows_of_point
    return min(str(row["created"]) for row in rows.values()), point


def past_trial(number: int, rows: Mapping[int, Row], sweep: Sweep, study: Study) -> PastTrial:
    """One trial, from its rows by seed.

    Raises:
        CorruptObject: its hyperparameters cannot be read.
    """
    first = next(iter(rows.values()))
    try:
        values = json_value(first["hyperparameters"])
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
        failure = next(row["failure"] for row in rows.values() if row["state"] == "failed")
        return PastTrial(number, point, tuple(gaps), "failed", failure)
    if len(gaps) == len(sweep.seeds.tuning):
        return PastTrial(number, point, tuple(gaps), "complete")
    state: Literal["stopped", "unfinished"] = "stopped" if "stopped" in states else "unfinished"
    return PastTrial(number, point, tuple(gaps), state)


def winner(trials: Iterable[PastTrial]) -> PastTrial | None:
    """The complete trial with the smallest mean gap; of equals the first."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: (trial.score, trial.number)) if complete else None
