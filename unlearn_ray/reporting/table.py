"""The comparison of studies, laid out as MUC's Table 1.

Every number is over the reporting seeds of each study's winning trial. A gap is the mean over
seeds of |unlearned - retrained| on the same seed. (The paper averages the values first and
then shows the difference of the averages, in which errors of opposite sign cancel; the mean of
gaps is never smaller.) ± is the sample standard deviation over seeds (ddof 1).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearn_ray.core.registry import parts
from unlearn_ray.metrics.base import Metric
from unlearn_ray.pipeline.rows import ORIGINAL, RETRAIN
from unlearn_ray.reporting.ranking import best_trials, scored_trials

_MINUTES_FROM = 120.0


@dataclass(frozen=True)
class Cell:
    """One quantity over seeds; `std` is None for one seed, `gap` None where there is none."""

    mean: float
    std: float | None = None
    gap: float | None = None


@dataclass(frozen=True)
class Line:
    """One study, or a reference model.

    Attributes:
        method: its name.
        seeds: the seeds behind its numbers.
        metrics: by column; a metric that was not measured is left out.
        average_gap: in the metrics' unit (percentage points).
        average_gap_percentage: AGP, in percent.
        tug_of_war: ToW, 1 at best; None where one of its accuracies was not measured.
        seconds: unlearning time, or retraining time of the retrained model.
        unlearning_method: that the study ran; None of a reference model.
        trial: the winning trial.
        hyperparameters: of the winning trial.
        note: why numbers or seeds are missing.
    """

    method: str
    seeds: tuple[int, ...] = ()
    metrics: Mapping[str, Cell] | None = None
    average_gap: Cell | None = None
    average_gap_percentage: Cell | None = None
    tug_of_war: Cell | None = None
    seconds: Cell | None = None
    unlearning_method: str | None = None
    trial: int | None = None
    hyperparameters: Mapping[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """The table of one sweep.

    Attributes:
        sweep: its name.
        problem: dataset, forget set, family and model in words.
        headers: of each metric column, in order.
        counted: the columns that count in the average gap.
        lines: retrained model, original model if it was measured, studies.
        best: the study with the smallest average gap among those with every seed.
        notes: what the table leaves out.
        stored_only: metric columns that `frame` has and a print leaves out.
    """

    sweep: str
    problem: str
    headers: Mapping[str, str]
    counted: tuple[str, ...]
    lines: tuple[Line, ...]
    best: str | None
    notes: tuple[str, ...] = ()
    stored_only: frozenset[str] = frozenset()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that a number of the table stands on."""
        return tuple(sorted({seed for line in self.lines for seed in line.seeds}))

    @property
    def time_unit(self) -> tuple[str, float]:
        """The unit of the time column, and its seconds."""
        times = [line.seconds.mean for line in self.lines if line.seconds is not None]
        return ("min", 60.0) if max(times, default=0.0) >= _MINUTES_FROM else ("s", 1.0)

    def frame(self) -> pd.DataFrame:
        """One row per line, numbers unrounded, times in seconds: for csv, json and parquet.

        Each quantity has its mean over seeds, `<name>_seed_std`, and a metric `<name>_gap`.
        """
        return pd.DataFrame([self._record(line) for line in self.lines])

    def _record(self, line: Line) -> dict[str, Any]:
        record: dict[str, Any] = {"sweep": self.sweep, "method": line.method}
        record |= {"best": line.method == self.best, "seeds": len(line.seeds), "trial": line.trial}
        for name in self.headers:
            cell = (line.metrics or {}).get(name)
            record |= _numbers(name, cell) | {f"{name}_gap": cell.gap if cell else None}
        for name, cell in (
            ("average_gap", line.average_gap),
            ("average_gap_percentage", line.average_gap_percentage),
            ("tug_of_war", line.tug_of_war),
            ("unlearning_seconds", line.seconds),
        ):
            record |= _numbers(name, cell)
        hyperparameters = line.hyperparameters
        record["unlearning_method"] = line.unlearning_method
        record["hyperparameters"] = None if hyperparameters is None else json.dumps(hyperparameters)
        record["note"] = line.note
        return record


def metric_headers() -> dict[str, str]:
    """The printed header of every registered metric's columns."""
    return {
        column: header
        for metric in parts(Metric).values()
        for column, header in metric.columns.items()
    }


def counted_columns() -> set[str]:
    """The columns of the registered metrics that count in the average gap."""
    return {
        column
        for metric in parts(Metric).values()
        if metric.in_average_gap
        for column in metric.columns
    }


def stored_only_columns() -> frozenset[str]:
    """The columns of the registered metrics that are stored and not printed."""
    return frozenset().union(*(metric.stored_only for metric in parts(Metric).values()))


def comparisons(rows: pd.DataFrame) -> list[Comparison]:
    """One comparison per sweep in the rows, by name."""
    return [comparison(part) for _, part in rows.groupby("sweep")]


def comparison(
    rows: pd.DataFrame,
    methods: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    counted: Collection[str] | None = None,
    measured: Collection[str] | None = None,
) -> Comparison:
    """The comparison of one sweep's studies.

    Where a name has rows of several studies (the file changed), the newest is shown.

    Args:
        rows: of one sweep, with the columns of `unlearn_ray.pipeline.rows`.
        methods: names of studies in the order of the table; sorted if left out.
        headers: of metric columns; those of the registered metrics if left out.
        counted: columns in the average gap; those of the registered metrics if left out.
        measured: columns to show; all that rows have if left out.
    """
    headers = metric_headers() if headers is None else headers
    counted = counted_columns() if counted is None else counted
    columns = [c for c in _metric_columns(rows, counted) if measured is None or c in measured]
    trials = rows[rows["purpose"] != "reference"]
    current, notes = _newest_studies(trials)
    unprinted = [name for name in columns if name in stored_only_columns()]
    if unprinted:
        notes += (f"stored and not printed: {', '.join(unprinted)}",)
    winners = _winning_rows(current)
    partly = _measured_partly(winners, columns)
    if partly:
        notes += (f"not measured on every seed yet, and left out: {', '.join(partly)}",)
        columns = [name for name in columns if name not in partly]
    seeds = tuple(sorted(set(winners["seed"])))
    names = sorted(set(trials["method"])) if methods is None else methods
    lines = [_method_line(name, current, winners, columns, seeds) for name in names]
    references = [_retrained_line(winners, columns)] if len(winners) else []
    references += _original_lines(rows, winners, columns)
    shown = rows.iloc[-1]
    problem = ", ".join(str(shown[name]) for name in ("dataset", "forget_set", "family", "model"))
    return Comparison(
        sweep=str(shown["sweep"]),
        problem=problem,
        headers={column: headers.get(column, column) for column in columns},
        counted=tuple(column for column in columns if column in counted),
        lines=(*references, *lines),
        best=_best(lines, seeds),
        notes=notes,
        stored_only=frozenset(unprinted),
    )


def _metric_columns(rows: pd.DataFrame, counted: Collection[str]) -> list[str]:
    """Metrics that were measured: first those in the average gap, each in the rows' order."""
    columns = [
        name.removesuffix("_retrained")
        for name in rows.columns
        if name.endswith("_retrained") and f"{name.removesuffix('_retrained')}_gap" in rows.columns
    ]
    measured = [
        name for name in columns if rows[[name, f"{name}_retrained"]].notna().any(axis=None)
    ]
    return sorted(measured, key=lambda name: name not in counted)


def _measured_partly(winners: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Metrics that some of a study's reporting rows have and others lack."""
    complete = winners[winners["state"] == "complete"]
    partly: set[str] = set()
    for _, rows in complete.groupby("method"):
        known = rows[list(columns)].notna()
        partly.update(known.columns[known.any() & ~known.all()])
    return [name for name in columns if name in partly]


def _newest_studies(trials: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    kept, notes = [], []
    for method, part in trials.groupby("method"):
        newest = part.groupby("study")["created"].max().sort_values().index[-1]
        kept.append(part[part["study"] == newest])
        older = part["study"].nunique() - 1
        if older:
            notes.append(f"{method}: {older} older stud{'y' if older == 1 else 'ies'} left out")
    return (pd.concat(kept) if kept else trials), tuple(notes)


def _winning_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """Reporting rows of each method's winner, one per seed: the newest of equals."""
    reporting = trials[trials["purpose"] == "reporting"].sort_values(["created", "trial"])
    best = {line.method: line.trial for line in best_trials(trials).itertuples()}
    kept = []
    for method, part in reporting.groupby("method"):
        known = set(part["trial"])
        trial = best[method] if best.get(method) in known else part["trial"].iloc[-1]
        kept.append(part[part["trial"] == trial].drop_duplicates("seed", keep="last"))
    return pd.concat(kept).sort_values(["method", "seed"]) if kept else reporting


def _method_line(
    method: str,
    trials: pd.DataFrame,
    winners: pd.DataFrame,
    columns: Sequence[str],
    seeds: Sequence[int],
) -> Line:
    rows = winners[winners["method"] == method]
    complete = rows[rows["state"] == "complete"]
    if not len(rows):
        return Line(method=method, note=_why_no_rows(trials[trials["method"] == method]))
    trial = int(rows["trial"].iloc[0])
    hyperparameters = json.loads(rows["hyperparameters"].iloc[0])
    note = ""
    if len(complete) < len(seeds):
        failures = rows.loc[rows["state"] != "complete", "failure"].dropna()
        note = f"{len(complete)} of {len(seeds)} seeds" + (
            f": {failures.iloc[0]}" if len(failures) else ""
        )
    return Line(
        method=method,
        seeds=tuple(complete["seed"]),
        metrics=_cells(complete, columns),
        average_gap=_cell(complete["average_gap"]),
        average_gap_percentage=_cell(complete["average_gap_percentage"]),
        tug_of_war=_cell(complete["tug_of_war"]),
        seconds=_cell(complete["unlearning_seconds"]),
        unlearning_method=rows["unlearning_method"].iloc[0],
        trial=trial,
        hyperparameters=hyperparameters,
        note=note,
    )


def _why_no_rows(trials: pd.DataFrame) -> str:
    if not len(trials):
        return "not started"
    states = scored_trials(trials)["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    failures = trials["failure"].dropna()
    reason = f"; {failures.iloc[0]}" if len(failures) else ""
    return f"no row on a reporting seed (tuning trials: {counts}{reason})"


def _retrained_line(winners: pd.DataFrame, columns: Sequence[str]) -> Line:
    """The reference as the rows hold it, so that it is the one their gaps were taken from."""
    ordered = winners.sort_values(["seed", "created"])
    first = ordered.dropna(subset=[f"{name}_retrained" for name in columns], how="all")
    rows = first.drop_duplicates("seed")
    return Line(
        method=RETRAIN,
        seeds=tuple(rows["seed"]),
        metrics={
            name: cell for name in columns if (cell := _cell(rows[f"{name}_retrained"])) is not None
        },
        seconds=_cell(rows["retraining_seconds"]),
    )


def _original_lines(
    rows: pd.DataFrame, winners: pd.DataFrame, columns: Sequence[str]
) -> list[Line]:
    """The model before unlearning, on the seeds of the winners; none if it was not measured."""
    models = set(winners["key_original"].dropna())
    original = rows[(rows["method"] == ORIGINAL) & rows["key_original"].isin(models)]
    original = original.sort_values(["seed", "created"]).drop_duplicates("seed", keep="last")
    if not len(original):
        return []
    return [
        Line(
            method=ORIGINAL,
            seeds=tuple(original["seed"]),
            metrics=_cells(original, columns),
            average_gap=_cell(original["average_gap"]),
            average_gap_percentage=_cell(original["average_gap_percentage"]),
            tug_of_war=_cell(original["tug_of_war"]),
        )
    ]


def _best(lines: Sequence[Line], seeds: Sequence[int]) -> str | None:
    ranked = [
        (line.average_gap.mean, line.method)
        for line in lines
        if line.average_gap is not None and line.seeds == tuple(seeds)
    ]
    return min(ranked)[1] if ranked else None


def _cells(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, Cell]:
    cells = {name: _cell(rows[name], rows[f"{name}_gap"]) for name in columns}
    return {name: cell for name, cell in cells.items() if cell is not None}


def _cell(values: pd.Series[float], gaps: pd.Series[float] | None = None) -> Cell | None:
    numbers = values.dropna().astype(float)
    if not len(numbers):
        return None
    gap = None if gaps is None or not gaps.notna().any() else float(gaps.astype(float).mean())
    std = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return Cell(mean=float(numbers.mean()), std=std, gap=gap)


def _numbers(name: str, cell: Cell | None) -> dict[str, float | None]:
    return {name: cell.mean if cell else None, f"{name}_seed_std": cell.std if cell else None}
