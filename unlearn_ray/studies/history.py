"""A study's history: its trials, reconstructed from the rows in the store in this one place.

Rows are the only state of a search. A restarted study reads them, tells the sampler about finished
trials, resumes unfinished ones, and runs the rest; plan, status, ranking and table count the same
trials. A trial is its point: rows of different points are never taken for one
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
    """One trial of a study, read from its rows.

    Attributes:
        number: counted from 0 within the study.
        point: the values of the searched fields.
        scores: one per tuning seed that was run, in the order of the seeds.
        state: `UNFINISHED` if it has neither all seeds nor a row that ends it.
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
    """Arithmetic mean, exactly rounded; NaN without values."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def recorded_trials(rows: Iterable[Row], sweep: Sweep, study: Study) -> list[TrialRecord]:
    """The trials that a sweep wants of a study, in the order of their numbers.

    Whichever sweep ran them; another one may want more trials of the same study.
    """
    key, wanted = study_key(sweep, study), sweep.trials(study)
    own = (row for row in rows if row["study_key"] == key and row["trial"] < wanted)
    return [
        trial_record(number, by_seed, sweep.seeds.tuning, study.space)
        for number, by_seed in rows_by_trial(own).items()
    ]


def rows_by_trial(rows: Iterable[Row]) -> dict[int, dict[int, Row]]:
    """The tuning rows of one study by trial and seed, in the order of the trials' numbers.

    A number has one point, which its claim fixes. In stores that were merged by hand it may have
    several; the point with the oldest row is then the trial.
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
    """The tuning seeds of a study that no manifest lists: those of its trial with the most."""
    return tuple(sorted(max(trials, key=len, default=())))


def trial_record(
    number: int, rows: Mapping[int, Row], seeds: Sequence[int], space: Collection[str] = ()
) -> TrialRecord:
    """One trial, from its rows by seed.

    Args:
        number: the trial's number.
        rows: at least one.
        seeds: the study's tuning seeds.
        space: the searched fields, if its point is needed.

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
    """The complete trial with the smallest mean score; ties go to the first."""
    complete = [trial for trial in trials if trial.state == State.COMPLETE]
    return min(complete, key=lambda trial: (trial.score, trial.number), default=None)


@dataclass
class StudyProgress:
    """The progress of a study, as its driver or the store sees it.

    Attributes:
        name: the study's, as in its rows.
        wanted: how many trials the study should have.
        complete, stopped, failed: how many trials ended that way.
        unfinished: how many have a row but have not ended.
        best: smallest mean score of a complete trial; None without one.
        reported: on how many of the `to_report` reporting seeds its best trial has a row.
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
        """The progress that a study's trials show, before reporting."""
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
        """How many trials have ended."""
        return self.complete + self.stopped + self.failed
