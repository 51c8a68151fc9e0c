"""A study's history: its trials as the rows in the store tell them, read in this one place.

Rows are the only memory of a search. A study that starts anew reads them, tells the sampler
what was finished, goes on with what was begun, and runs the rest; plan, status, ranking and table
count the same trials. A trial is its point: rows of different points are never taken for one
trial, whatever number they carry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.stored import json_value
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.study import study_key

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study, as its rows tell it.

    Attributes:
        number: counted from 0 within the study.
        point: the searched fields.
        scores: of each tuning seed that was run, in the order of the seeds.
        state: `UNFINISHED` has neither all seeds nor a row that says it ended.
        failure: why it failed; None otherwise.
    """

    number: int
    point: dict[str, Any]
    scores: tuple[float, ...]
    state: State
    failure: str | None = None

    @property
    def score(self) -> float:
        """Mean score over the seeds that were run."""
        return mean(self.scores)


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, exactly rounded; NaN of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def recorded_trials(rows: Iterable[Row], sweep: Sweep, study: Study) -> list[TrialRecord]:
    """The trials that a sweep wants of a study, in the order of their numbers.

    Whichever sweep ran them: another one may want more of the same study.
    """
    key, wanted = study_key(sweep, study), sweep.trials(study)
    own = (row for row in rows if row["study_key"] == key and row["trial"] < wanted)
    return [
        trial_record(number, by_seed, sweep.seeds.tuning, study.space)
        for number, by_seed in rows_by_trial(own).items()
    ]


def rows_by_trial(rows: Iterable[Row]) -> dict[int, dict[int, Row]]:
    """The tuning rows of one study by trial and seed, in the order of the trials' numbers.

    A number has one point: it is claimed with it. Where stores were merged by hand it may have
    several; then the one whose rows were made first is the trial.
    """
    by_number: dict[int, dict[str, dict[int, Row]]] = {}
    for row in rows:
        if row["purpose"] == "tuning":
            points = by_number.setdefault(int(row["trial"]), {})
            points.setdefault(row["point"], {})[int(row["seed"])] = row
    return {number: min(by_number[number].items(), key=_made)[1] for number in sorted(by_number)}


def _made(rows_of_point: tuple[str, dict[int, Row]]) -> tuple[str, str]:
    point, rows = rows_of_point
    return min(str(row["created"]) for row in rows.values()), point


def most_seeds(trials: Iterable[Mapping[int, Row]]) -> tuple[int, ...]:
    """The tuning seeds of a study of which no sweep says any: as many as a trial of it has."""
    return tuple(sorted(max(trials, key=len, default=())))


def trial_record(
    number: int, rows: Mapping[int, Row], seeds: Sequence[int], space: Collection[str] = ()
) -> TrialRecord:
    """One trial, from its rows by seed.

    Args:
        number: of the trial.
        rows: at least one.
        seeds: the study's tuning seeds.
        space: the searched fields, where its point is asked for.

    Raises:
        CorruptObject: its hyperparameters cannot be read.
    """
    point = _searched(number, next(iter(rows.values())), space) if space else {}
    scores: list[float] = []
    for seed in seeds:
        if seed not in rows or rows[seed]["state"] == State.FAILED:
            break
        scores.append(float(rows[seed]["score"]))
    failed = [row for row in rows.values() if row["state"] == State.FAILED]
    if failed:
        return TrialRecord(number, point, tuple(scores), State.FAILED, failed[0]["failure"])
    if len(scores) == len(seeds):
        return TrialRecord(number, point, tuple(scores), State.COMPLETE)
    stopped = any(row["state"] == State.STOPPED for row in rows.values())
    state = State.STOPPED if stopped else State.UNFINISHED
    return TrialRecord(number, point, tuple(scores), state)


def _searched(number: int, row: Row, space: Collection[str]) -> dict[str, Any]:
    try:
        values = json_value(row["hyperparameters"])
        return {name: values[name] for name in space}
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptObject(
            f"row of trial {number} of {row['study']}",
            f"its hyperparameters cannot be read ({error!r})",
            "delete the row and run the sweep again",
        ) from error


def winner(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The complete trial with the smallest mean score; of equals the first."""
    complete = [trial for trial in trials if trial.state == State.COMPLETE]
    return min(complete, key=lambda trial: (trial.score, trial.number), default=None)


@dataclass
class StudyProgress:
    """How far a study is: its driver's view, and what the store tells of it.

    Attributes:
        name: of the study, as in its rows.
        wanted: trials that the study is to have.
        complete, stopped, failed: trials that ended, by how.
        unfinished: trials that have a row and have not ended.
        best: smallest mean score of a complete trial; None without one.
        reported: reporting seeds that its trial has a row on, of `to_report`.
    """

    name: str
    wanted: int
    complete: int = 0
    stopped: int = 0
    failed: int = 0
    unfinished: int = 0
    best: float | None = None
    reported: int = 0
    to_report: int = 0

    @classmethod
    def of(
        cls, name: str, wanted: int, trials: Collection[TrialRecord], *, to_report: int
    ) -> StudyProgress:
        """What a study's trials say, before any is reported."""
        best = winner(trials)
        return cls(
            name=name,
            wanted=wanted,
            **Counter(str(trial.state) for trial in trials),
            best=best.score if best else None,
            to_report=to_report,
        )

    @property
    def ended(self) -> int:
        """Trials that need not be run any more."""
        return self.complete + self.stopped + self.failed
