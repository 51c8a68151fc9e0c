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
from typing import TYPE_CHECKING, Any, Protocol

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.stored import json_value
from unlearn_ray.studies.fronts import Score, Vector, front, knee, mark, means
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES, State

if TYPE_CHECKING:
    from unlearn_ray.config.sweep_schema import Study, Sweep

Row = Mapping[str, Any]


class Bar(Protocol):
    """Decides whether a trial goes on to its next tuning seed.

    It is a pure function of the history that its driver knew when it suggested the trial.
    """

    def stops(self, scores: Sequence[Score], excesses: Sequence[Vector]) -> bool:
        """Whether a trial stops after the last of these seeds.

        Args:
            scores: one per seed that it ran.
            excesses: what it is beyond each constraint on each of them.
        """


def stops(
    bar: Bar | float | None, scores: Sequence[Score], excesses: Sequence[Vector] = ()
) -> bool:
    """Whether a bar stops a trial; a number is the mean score above which it does."""
    if bar is None:
        return False
    if isinstance(bar, float | int):
        return first_mean(scores) > bar
    return bar.stops(scores, excesses)


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study, read from its rows.

    Attributes:
        number: counted from 0 within the study.
        point: the values of the searched fields.
        scores: one per tuning seed that was run, in the order of the seeds; with several
            objectives, each is a score by every objective.
        state: `UNFINISHED` if it has neither all seeds nor a row that ends it.
        failure: why it failed; None otherwise.
        excesses: for each of these seeds, what it is beyond each constraint; empty without any.
    """

    number: int
    point: dict[str, Any]
    scores: tuple[Score, ...]
    state: State
    failure: str | None = None
    excesses: tuple[Vector, ...] = ()

    @property
    def score(self) -> float:
        """Mean score over the seeds that were run, by the first objective."""
        return first_mean(self.scores)

    @property
    def mark(self) -> Vector:
        """What it is compared by: its violation, and its mean score by each objective."""
        return mark(self.scores, self.excesses)

    @property
    def violation(self) -> float:
        """By how much it breaks the constraints; 0 if it keeps all."""
        return self.mark[0]


# The only trial of a study that searches nothing, where there are no tuning seeds to score it on:
# no row tells of it, and it is the winner.
UNTUNED = TrialRecord(0, {}, (), State.COMPLETE)


def hyperparameters_of(row: Row) -> Mapping[str, Any]:
    """All fields of the method of a trial's row.

    Raises:
        CorruptObject: they cannot be read.
    """
    try:
        values = json_value(row["hyperparameters"])
        if isinstance(values, dict):
            return values
        reason = "they are no mapping"
    except (TypeError, ValueError) as error:
        reason = f"{error!r}"
    raise CorruptObject(
        f"row of trial {row['trial']} of {row['study']}",
        f"its hyperparameters cannot be read ({reason})",
        "delete the row and run that sweep again",
    )


def first_mean(scores: Sequence[Score]) -> float:
    """Mean score by the first objective; NaN without seeds."""
    return means(scores)[0] if scores else math.nan


def recorded_trials(rows: Iterable[Row], sweep: Sweep, study: Study) -> list[TrialRecord]:
    """The trials that a sweep wants of a study, in the order of their numbers.

    Whichever sweep ran them; another one may want more trials of the same study.
    """
    if not sweep.seeds.tuning:
        return [UNTUNED]
    # It needs PyTorch, which reading histories does not.
    from unlearn_ray.studies.study import study_key

    key, wanted = study_key(sweep, study), sweep.trials(study)
    own = (row for row in rows if row["study_key"] == key and row["trial"] < wanted)
    return [
        trial_record(number, by_seed, sweep.seeds.tuning, study)
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
    number: int, rows: Mapping[int, Row], seeds: Sequence[int], study: Study | None = None
) -> TrialRecord:
    """One trial, from its rows by seed.

    Args:
        number: the trial's number.
        rows: at least one.
        seeds: the study's tuning seeds.
        study: the trial's, if its point is needed.

    Raises:
        CorruptObject: its hyperparameters cannot be read.
    """
    point = _searched(number, next(iter(rows.values())), study) if study and study.space else {}
    scores: list[Score] = []
    excesses: list[Vector] = []
    for seed in seeds:
        if seed not in rows or rows[seed]["state"] == State.FAILED:
            break
        scores.append(score_of(rows[seed]))
        excesses.append(excesses_of(rows[seed]))
    constrained = tuple(excesses) if any(excesses) else ()

    def record(state: State, failure: str | None = None) -> TrialRecord:
        return TrialRecord(number, point, tuple(scores), state, failure, constrained)

    failed = [row for row in rows.values() if row["state"] == State.FAILED]
    if failed:
        return record(State.FAILED, failed[0]["failure"])
    if len(scores) == len(seeds):
        return record(State.COMPLETE)
    stopped = any(row["state"] == State.STOPPED for row in rows.values())
    return record(State.STOPPED if stopped else State.UNFINISHED)


def score_of(row: Row) -> Score:
    """The score of a row that did not fail: of several objectives, one number each."""
    first, further = float(row["score"]), _numbers(row, FURTHER_SCORES)
    return (first, *further) if further else first


def excesses_of(row: Row) -> Vector:
    """What a row is beyond each constraint; empty without constraints."""
    return _numbers(row, EXCESSES)


def _numbers(row: Row, names: Iterable[str]) -> Vector:
    """The columns that a row has: tables of several sweeps hold null or NaN in others' rows."""
    found = []
    for name in names:
        value = row.get(name)
        if value is not None and value == value:
            found.append(float(value))
    return tuple(found)


def _searched(number: int, row: Row, study: Study) -> dict[str, Any]:
    try:
        return study.searched(json_value(row["hyperparameters"]))
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise CorruptObject(
            f"row of trial {number} of {row['study']}",
            f"its hyperparameters cannot be read ({error!r})",
            "delete the row and run the sweep again",
        ) from error


def winner(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The best complete trial; ties go to the first.

    With one objective it has the smallest mean score, with several it is the knee of the front;
    with constraints, among the trials that keep them or, without any, violate them least.
    """
    return next(iter(winners(trials)), None)


def winners(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that are reported: the winner, then the other members of its Pareto front.

    Those are in the order of the first objective. With one objective the winner is alone.
    """
    complete = [trial for trial in trials if trial.state == State.COMPLETE]
    if not any(isinstance(score, tuple) for trial in complete for score in trial.scores):
        best = min(
            complete, key=lambda trial: (trial.violation, trial.score, trial.number), default=None
        )
        return [] if best is None else [best]
    complete.sort(key=lambda trial: trial.number)
    members = [complete[position] for position in front([trial.mark for trial in complete])]
    if not members:
        return []
    best = members[knee([trial.mark for trial in members])]
    return [best, *(member for member in members if member is not best)]


@dataclass
class StudyProgress:
    """The progress of a study, as its driver or the store sees it.

    Attributes:
        name: the study's, as in its rows.
        wanted: how many trials the study should have.
        complete, stopped, failed: how many trials ended that way.
        unfinished: how many have a row but have not ended.
        best: mean score of the winner by the first objective; None without a complete trial, or
            without tuning seeds.
        reported: how many of the `to_report` rows of its winners on the reporting seeds there are.
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
        """The progress that a study's trials show, before reporting.

        Args:
            name, wanted: of the study.
            trials: so far.
            to_report: the reporting runs of one trial.
        """
        best = winners(trials)
        return cls(
            name=name,
            wanted=wanted,
            **Counter(str(trial.state) for trial in trials),
            best=best[0].score if best and best[0].scores else None,
            to_report=to_report * max(1, len(best)),
        )

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return self.complete + self.stopped + self.failed
