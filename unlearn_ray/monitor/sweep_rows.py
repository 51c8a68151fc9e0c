"""The rows of one sweep as columns: what `status` counts and adds up."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from unlearn_ray.studies.history import UNTUNED, StudyProgress, winners
from unlearn_ray.studies.row_columns import Texts, array_of, integers, numbers
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES, HOURS, State
from unlearn_ray.studies.standing import READ, Standing, TuningRows, standing

COLUMNS = (*READ, "sweep", "study_key", "study", *FURTHER_SCORES, *EXCESSES, *HOURS)
_TEXTS = ("sweep", "study_key", "purpose", "state", "point")
_GOALS = (*FURTHER_SCORES, *EXCESSES)


@dataclass(frozen=True)
class SweepRows:
    """Rows, by column; see `core.columns`.

    Attributes:
        table: the rows.
        number: each one's position in it.
        usual: whether a row has one score and no constraint.
        made: when, as the position of a time in `times`.
        hours: accelerator hours of unlearning, and of the rest.
        times: the different times at which rows were made, in order.
    """

    table: pa.Table
    number: Int64[np.ndarray, " rows"]
    sweep: Texts
    study_key: Texts
    purpose: Texts
    state: Texts
    point: Texts
    trial: Int64[np.ndarray, " rows"]
    seed: Int64[np.ndarray, " rows"]
    score: Float64[np.ndarray, " rows"]
    usual: Bool[np.ndarray, " rows"]
    made: Int64[np.ndarray, " rows"]
    hours: tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]
    times: tuple[datetime, ...]

    @classmethod
    def of(cls, table: pa.Table) -> SweepRows:
        """Those of a table that has `COLUMNS`; without rows it may lack them."""

        def column(name: str) -> pa.ChunkedArray:
            there = name in table.column_names
            return table[name] if there else pa.chunked_array([pa.nulls(table.num_rows)])

        texts = {name: Texts.of(column(name)) for name in _TEXTS}
        goals = [numbers(column(name), math.nan) for name in _GOALS]
        made = Texts.of(column("created"))
        times = [datetime.fromisoformat(text) for text in made.values]
        order = sorted(range(len(times)), key=times.__getitem__)
        return cls(
            table=table,
            number=np.arange(table.num_rows),
            **texts,
            trial=integers(column("trial")),
            seed=integers(column("seed")),
            score=numbers(column("score"), math.nan),
            usual=np.asarray(np.isnan(goals).all(axis=0)),
            made=np.argsort(order)[made.of_row],
            hours=(numbers(column(HOURS[0]), 0.0), numbers(column(HOURS[1]), 0.0)),
            times=tuple(times[each] for each in order),
        )

    def __len__(self) -> int:
        return len(self.number)

    def where(self, rows: Bool[np.ndarray, " rows"]) -> SweepRows:
        """Some of the rows."""
        arrays = ("number", "trial", "seed", "score", "usual", "made")
        parts = {name: getattr(self, name)[rows] for name in (*_TEXTS, *arrays)}
        return replace(self, **parts, hours=(self.hours[0][rows], self.hours[1][rows]))

    def of_sweep(self, name: str) -> SweepRows:
        """Those of a sweep."""
        return self.where(self.sweep.where(lambda sweep: sweep == name))

    def count(self, purpose: str) -> int:
        """How many have a purpose."""
        return int(self.purpose.where(lambda known: known == purpose).sum())

    def failed(self) -> list[dict[str, Any]]:
        """Those that failed, as rows."""
        return self._rows(self.number[self._has_state(State.FAILED)])

    @property
    def costs(self) -> Float64[np.ndarray, " rows"]:
        """Accelerator hours; 0 if all steps of the row were already in the store."""
        return np.asarray(self.hours[0] + self.hours[1])

    def ended(self) -> list[datetime]:
        """When those that cost something were made, in order."""
        return [self.times[each] for each in np.sort(self.made[self.costs != 0])]

    def newest(self) -> list[datetime]:
        """When the last one was made; empty without rows."""
        return [self.times[self.made.max()]] if len(self) else []

    def progress(
        self, name: str, key: str, wanted: int, tuning: tuple[int, ...], runs: int
    ) -> StudyProgress:
        """The progress of a study.

        Args:
            name, key: of the study.
            wanted: how many trials it should have.
            tuning: its tuning seeds.
            runs: how many reporting runs it has.
        """
        of_study = self.study_key.where(lambda known: known == key)
        own = self.where(of_study & (self.trial < wanted))
        tuned = own.where(own.purpose.where(lambda purpose: purpose == "tuning"))
        trials = standing(tuned.tuning_rows(), tuning) if len(tuned) and tuning else None
        if not tuning:
            told, chosen = StudyProgress.of(name, wanted, [UNTUNED], to_report=runs), [0]
        else:
            told, chosen = _progress(name, wanted, trials, runs)
        reporting = own.purpose.where(lambda purpose: purpose == "reporting")
        told.reported = int((reporting & np.isin(own.trial, chosen)).sum())
        return told

    def tuning_rows(self) -> TuningRows:
        """The same, as `standing` takes them."""
        return TuningRows(
            trial=self.trial,
            seed=self.seed,
            point=self.point.of_row,
            failed=self._has_state(State.FAILED),
            stopped=self._has_state(State.STOPPED),
            score=self.score,
            usual=bool(self.usual.all()),
            rows=partial(self._rows, self.number),
        )

    def _has_state(self, state: State) -> Bool[np.ndarray, " rows"]:
        return self.state.where(lambda known: known == state)

    def _rows(self, number: Int64[np.ndarray, " rows"]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.take(array_of(number)).to_pylist()
        return rows


def _progress(
    name: str, wanted: int, trials: Standing | None, runs: int
) -> tuple[StudyProgress, list[int]]:
    """The progress of a study that is tuned, and the numbers of its winners."""
    if trials is None or trials.records is not None:
        records = [] if trials is None else trials.records or []
        told = StudyProgress.of(name, wanted, records, to_report=runs)
        return told, [best.number for best in winners(records)]
    counts = Counter(trials.states.tolist())
    told = StudyProgress(name, wanted, **counts, to_report=runs)
    complete = (trials.states == State.COMPLETE).tolist()
    scored = zip(trials.scores, trials.numbers.tolist(), strict=True)
    best = min((each for each, ended in zip(scored, complete, strict=True) if ended), default=None)
    if best is not None:
        told.best = best[0]
    return told, [] if best is None else [best[1]]
