"""A store's searches as an Optuna journal, which Optuna's own tools read.

Each study becomes an Optuna study `SWEEP/STUDY`, each trial that has ended one of its trials, from
the same rows and by the same history as tables. What Optuna counts by itself is stated in a trial's
user attributes: its number in our study, as trials that have not ended are left out.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.keys import canonical, plain
from unlearn_ray.core.ranges import Range
from unlearn_ray.reporting.ranking import UNKNOWN, Tuning
from unlearn_ray.reporting.table import newest_studies
from unlearn_ray.studies.fronts import mean, means, vector
from unlearn_ray.studies.history import (
    Row,
    TrialRecord,
    hyperparameters_of,
    most_seeds,
    rows_by_trial,
    trial_record,
)
from unlearn_ray.studies.rows import HOURS, State

# Optuna names the process that wrote a line; here any export of the same rows is the same file.
_WRITER = "unlearn_ray"
# The attribute that samplers and the dashboard take for constraints, a number each.
_CONSTRAINTS = "constraints"
_LARGEST = 1e308
_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.STOPPED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}
_OF_STUDY = ("sweep", "study", "study_key", "method", "dataset", "forget_set", "family", "model")
_AVERAGES = (
    *("average_gap", "average_gap_percentage", "average_excess", "tug_of_war"),
    *("unlearning_compute_seconds", "retraining_compute_seconds", "evaluation_seconds"),
)
_OF_A_METRIC = ("", "_gap", "_excess")
_NOT_READ = ("hp_", "version_", "key_measure_")


@dataclass(frozen=True)
class Journal:
    """A journal, as Optuna's JournalFileBackend reads it.

    Attributes:
        data: the file's bytes; the same rows give the same ones.
        trials: how many trials each study has, by the study's name.
        unfinished: how many trials were left out, as they have not ended.
        without_ranges: the studies whose ranges the store does not know: their trials have their
            hyperparameters among the attributes, and no parameters.
        notes: which older studies were left out.
    """

    data: bytes
    trials: Mapping[str, int]
    unfinished: int
    without_ranges: tuple[str, ...]
    notes: tuple[str, ...]


def journal(rows: pd.DataFrame, identities: Mapping[str, Any], tuning: Tuning = UNKNOWN) -> Journal:
    """The journal of all studies that have tuning rows.

    If a name has rows of several studies (the file changed), the newest is taken, as in tables.

    Args:
        rows: of any sweeps.
        identities: of studies, by study key, as stored when a sweep starts.
        tuning: tuning seeds of studies, where known.

    Raises:
        CorruptObject: a trial's hyperparameters do not belong to its study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lines = _Lines()
    storage = JournalStorage(lines)
    counts: dict[str, int] = {}
    left_out, without_ranges, notes = 0, [], []
    for sweep, part in rows[rows["purpose"] == "tuning"].groupby("sweep"):
        newest, older = newest_studies(part)
        notes += [f"{sweep}/{note}" for note in older]
        for study, of_study in newest.groupby("study"):
            name, key = f"{sweep}/{study}", str(of_study["study_key"].iloc[0])
            identity = identities.get(key)
            if identity is None:
                without_ranges.append(name)
            found = _Study(name, of_study, identity, tuning.get(key))
            counts[name] = found.write(storage)
            left_out += found.unfinished
    return Journal(lines.text().encode(), counts, left_out, tuple(without_ranges), tuple(notes))


def distribution(field_range: Range) -> BaseDistribution:
    """The Optuna distribution of a range, over the field's own values.

    Optuna's choices are single values: any other is its JSON.
    """
    if field_range.kind in ("choice", "grid"):
        return CategoricalDistribution([_single(one) for one in field_range.choices])
    low, high = field_range.ends
    if field_range.kind in ("int", "log_int"):
        log = field_range.kind == "log_int"
        return IntDistribution(low, high, log=log, step=int(field_range.step or 1))
    log = field_range.kind == "log_uniform"
    return FloatDistribution(low, high, log=log, step=field_range.step)


def _single(value: Any) -> Any:
    simple = value is None or isinstance(value, str | int | float | bool)
    return value if simple else canonical(plain(value))


class _Lines(BaseJournalBackend):  # type: ignore[misc]
    """A journal in memory: a file's would be written, locked and synchronised for each line."""

    def __init__(self) -> None:
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The logs from this number on."""
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add logs."""
        self._logs += logs

    def text(self) -> str:
        """A line for each log."""
        signed = ({**log, "worker_id": _WRITER} for log in self._logs)
        return "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in signed)


class _Study:
    """One study of a sweep.

    Attributes:
        unfinished: how many of its trials have not ended.
    """

    def __init__(
        self, name: str, rows: pd.DataFrame, identity: Any, seeds: Sequence[int] | None
    ) -> None:
        self._name = name
        read = [column for column in rows.columns if not column.startswith(_NOT_READ)]
        records = [dict(zip(read, row, strict=True)) for row in rows[read].itertuples(index=False)]
        self._trials = rows_by_trial(records)
        self._seeds = seeds or most_seeds(self._trials.values())
        self._first: Row = records[0]
        self._metrics = [
            column
            for each in rows.columns
            if (column := each.removesuffix("_retrained")) != each and f"{column}_gap" in rows
        ]
        said = {} if identity is None else identity["space"]
        self._space = {field: Range.of_identity(said[field]) for field in sorted(said)}
        self._distributions = {field: distribution(of) for field, of in self._space.items()}
        self._objectives = _objectives(identity, str(self._first["objective"]))
        self.unfinished = 0

    def write(self, storage: JournalStorage) -> int:
        """Add the study to a journal; returns how many trials it has there."""
        study = optuna.create_study(
            storage=storage, study_name=self._name, directions=["minimize"] * len(self._objectives)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(self._objectives))
        for name in (*_OF_STUDY, "objective"):
            study.set_user_attr(name, self._first.get(name))
        study.set_user_attr("tuning_seeds", list(map(int, self._seeds)))
        written = 0
        for number, by_seed in self._trials.items():
            told = trial_record(number, by_seed, self._seeds)
            if told.state == State.UNFINISHED:
                self.unfinished += 1
                continue
            study.add_trial(self._trial(written, told, by_seed))
            written += 1
        return written

    def _trial(self, place: int, told: TrialRecord, by_seed: Mapping[int, Row]) -> FrozenTrial:
        first = next(iter(by_seed.values()))
        values = hyperparameters_of(first)
        params = self._params(told.number, first, values)
        state, averages = _STATES[told.state], means(told.scores)
        attributes = self._attributes(told, by_seed)
        attributes["fixed"] = {name: of for name, of in values.items() if name not in params}
        if state == TrialState.COMPLETE and any(map(math.isnan, averages)):
            state, attributes["failure"] = TrialState.FAIL, "its score is not a number"
        start, end = _times(by_seed)
        return FrozenTrial(
            number=place,
            trial_id=place,
            state=state,
            value=None,
            values=None if state == TrialState.FAIL or not averages else list(averages),
            datetime_start=start,
            datetime_complete=end,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            user_attrs=attributes,
            system_attrs=_constraints(told),
            intermediate_values=_by_seed(told) if len(self._objectives) == 1 else {},
        )

    def _params(self, number: int, row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
        """The searched fields of a trial; without those whose condition it does not meet."""
        try:
            searched = {
                name: values[name] for name, of in self._space.items() if of.is_searched(values)
            }
        except KeyError as error:
            raise _corrupt(number, row, f"lack {error.args[0]}") from error
        for name, value in searched.items():
            if not self._space[name].holds(value):
                raise _corrupt(number, row, f"have a {name} that its search could not choose")
        return {name: _single(value) for name, value in searched.items()}

    def _attributes(self, told: TrialRecord, by_seed: Mapping[int, Row]) -> dict[str, Any]:
        """What Optuna has no place for, means over the seeds that did not fail."""
        ended = [row for row in by_seed.values() if row["state"] != State.FAILED]
        columns = [
            *_AVERAGES,
            *(f"{metric}{of}" for metric in self._metrics for of in _OF_A_METRIC),
        ]
        found = {name: mean(values) for name in columns if (values := _numbers(ended, name))}
        return {
            "trial": told.number,
            "point": str(next(iter(by_seed.values()))["point"]),
            "seeds": [int(seed) for seed in self._seeds if seed in by_seed],
            "keys": {
                str(seed): key
                for seed, row in sorted(by_seed.items())
                if isinstance(key := row.get("key_unlearn"), str)
            },
            **({"failure": told.failure} if told.failure else {}),
            **({"scores": _scores(told, self._seeds)} if len(self._objectives) > 1 else {}),
            **found,
            "accelerator_hours": math.fsum(
                value for name in HOURS for value in _numbers([*by_seed.values()], name)
            ),
        }


def _objectives(identity: Any, title: str) -> tuple[str, ...]:
    """The names of the objectives; a row's title has them before its constraints."""
    if identity is None:
        return tuple(title.partition(";")[0].split(", "))
    said = identity["objective"]
    return tuple(one["name"] for one in said.get("objectives", [said]))


def _numbers(rows: Sequence[Row], name: str) -> list[float]:
    """A column's values, where there are any."""
    values = (row.get(name) for row in rows)
    return [float(value) for value in values if value is not None and value == value]


def _by_seed(told: TrialRecord) -> dict[int, float]:
    """The score of each seed; seeds are counted from 0."""
    return {place: float(mean(vector(score))) for place, score in enumerate(told.scores)}


def _scores(told: TrialRecord, seeds: Sequence[int]) -> dict[str, list[float]]:
    scored = zip(seeds, told.scores, strict=False)
    return {str(seed): list(vector(score)) for seed, score in scored}


def _constraints(told: TrialRecord) -> dict[str, Any]:
    """What its means are beyond each constraint."""
    excesses = [mean(column) for column in zip(*told.excesses, strict=True)]
    return {_CONSTRAINTS: [min(each, _LARGEST) for each in excesses]} if excesses else {}


def _times(by_seed: Mapping[int, Row]) -> tuple[datetime, datetime]:
    """From the first seed's unlearning to the last seed's measurements.

    `created` is when a model was there; its compute time is the least that it took before.
    """
    starts, ends = [], []
    for row in by_seed.values():
        made = datetime.fromisoformat(str(row["created"]))
        before, after = (
            timedelta(seconds=math.fsum(_numbers([row], name)))
            for name in ("unlearning_compute_seconds", "evaluation_seconds")
        )
        starts.append(made - before)
        ends.append(made + after)
    return min(starts), max(ends)


def _corrupt(number: int, row: Row, what: str) -> CorruptObject:
    return CorruptObject(
        f"row of trial {number} of {row['study']}",
        f"its hyperparameters {what}",
        "delete the row and run that sweep again",
    )
