"""The comparison of studies, laid out as MUC's Table 1.

All numbers are over the reporting seeds of each study's winning trial. Two statistics are called
a gap over seeds, and have names of their own here:

- *gap of means*, MUC's: |mean over seeds of the unlearned models - mean of the retrained ones|.
  It is used in the gaps in parentheses, Avg. Gap and AGP of its Tables 1 and 9; errors of
  opposite sign cancel.
- *mean gap*: the mean over seeds of |unlearned - retrained| on the same seed. It is never smaller,
  and is what a search minimises on the tuning seeds.

± is the sample standard deviation over seeds (ddof 1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from unlearn_ray.core.columns import column_of
from unlearn_ray.core.gaps import average_gap_percentage, counted_columns, gaps
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.core.words import counted as counted_words
from unlearn_ray.reporting.declared import headers_of, metrics_of
from unlearn_ray.reporting.evidence import Evidence, evidence
from unlearn_ray.reporting.ranking import (
    UNKNOWN,
    WON_BY,
    Tuning,
    Winner,
    scored_trials,
    winners_of,
)
from unlearn_ray.reporting.scores import ScoreLine, score_lines
from unlearn_ray.storage.stored import json_value
from unlearn_ray.studies.rows import MADE_ON_SEPARATOR, State

MACHINES_SHOWN = 4
# Of each study, by its sweep, name and key.
_Winners = Mapping[tuple[str, ...], Sequence[Winner]]
_MINUTES_FROM = 120.0
_OF_TRIALS = ("tuning", "reporting")
# What tells the models of a winner apart.
_RUN = ["seed", "replicate"]
# The steps that a row's models come from.
_KEYS = ("key_original", "key_retrained")
# Of all rows of trials; of those that are shown, every column.
_LOOKED_AT_OF_TRIALS = frozenset({*WON_BY, "made_on", "objective"})
_POSITION = "position"
# Half of a row's columns, by their names in `core.columns`.
_NOT_LOOKED_AT = frozenset(
    {
        *("hp_<field>", "version_<library>", "key_unlearn", "key_measure_<metric>"),
        *("key_score_<score>", "device", "threads", "kernels", "host", "evaluation_seconds"),
        *("accelerator_hours_unlearn", "accelerator_hours_measure", "average_excess"),
    }
)
_NOT_KNOWN = "of metrics that are not known here (their plug-ins are not loaded), in no average"
_NOT_COMPARED = (
    "nothing was compared with retraining, so there are no gaps and no verdicts: these values say"
    " how the models behave, not whether they behave as if they had never seen the forget set"
)
_NO_EVIDENCE = (
    "no verdict and no star: without several retrained models of each split nobody knows how far"
    " two of them lie apart; set seeds.replicates to 5"
)


@dataclass(frozen=True)
class Cell:
    """One number over seeds.

    Attributes:
        std: None for one seed.
        gap_of_means, mean_gap: to the retrained models of the same seeds; None if there are none.
        gap_percentage: the gap of means in percent of the retrained models' mean; NaN if that is
            0 and the gap is not.
    """

    mean: float
    std: float | None = None
    gap_of_means: float | None = None
    mean_gap: float | None = None
    gap_percentage: float | None = None


@dataclass(frozen=True)
class Line:
    """One study, or a reference model.

    Attributes:
        study: its name; `RETRAIN` or `ORIGINAL` for a reference model. A member of a study's
            Pareto front is named after its trial, too, as in `scrub #12`.
        runs: the seeds and replicates behind its numbers.
        metrics: by column, without metrics that were not measured.
        average_gap_of_means: MUC's Avg. Gap: the mean over the counted metrics of their gaps of
            means, in the metrics' unit (percentage points).
        average_gap_percentage_of_means: MUC's AGP, in percent.
        mean_average_gap: the mean over seeds of each seed's average gap.
        mean_average_gap_percentage: likewise of each seed's AGP; None if a seed has none.
        tug_of_war: ToW, 1 at best; None if one of its accuracies is missing on a seed.
        seconds: compute seconds of unlearning, or of retraining for the retrained model.
        method: the study's; None for a reference model.
        study_key, trial, point: key, number and point hash of the winning trial.
        hyperparameters: those of the winning trial.
        note: why numbers or seeds are missing.
        of_study: the study, where `study` names a member of its front.
        knee: whether this is the front's knee; None where there is no front.
    """

    study: str
    runs: tuple[Run, ...] = ()
    metrics: Mapping[str, Cell] | None = None
    average_gap_of_means: float | None = None
    average_gap_percentage_of_means: float | None = None
    mean_average_gap: Cell | None = None
    mean_average_gap_percentage: Cell | None = None
    tug_of_war: Cell | None = None
    seconds: Cell | None = None
    method: str | None = None
    study_key: str | None = None
    trial: int | None = None
    point: str | None = None
    hyperparameters: Mapping[str, Any] | None = None
    note: str = ""
    of_study: str | None = None
    knee: bool | None = None

    @property
    def own_name(self) -> str:
        """The study's name, as in the sweep file."""
        return self.of_study or self.study


@dataclass(frozen=True)
class Comparison:
    """The table of one sweep.

    Attributes:
        sweep: its name.
        problem: dataset, forget set, family and model in words.
        headers: the header of each metric column, in order.
        counted: the columns that count in the average gap.
        lines: retrained model, original model if it was measured, studies.
        evidence: what the replicates bear; None if no split has two retrained models.
        scores: estimates of many models.
        notes: what the table leaves out.
        stored_only: metric columns that only `frame` has.
        timed_on: the device of the compute seconds: "CPU" or "GPU"; "" for both.
        compares: whether a study was compared with retrained models; if not, there are no gaps.
    """

    sweep: str
    problem: str
    headers: Mapping[str, str]
    counted: tuple[str, ...]
    lines: tuple[Line, ...]
    evidence: Evidence | None
    scores: tuple[ScoreLine, ...] = ()
    notes: tuple[str, ...] = ()
    stored_only: frozenset[str] = frozenset()
    timed_on: str = ""
    compares: bool = True

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed behind a number of the table."""
        return tuple(sorted({run.seed for line in self.lines for run in line.runs}))

    @property
    def runs(self) -> int:
        """How many runs are behind the table: seeds times replicates."""
        return len({run for line in self.lines for run in line.runs})

    @property
    def starred(self) -> frozenset[str]:
        """The studies that the evidence ranks first."""
        return frozenset() if self.evidence is None else self.evidence.starred

    @property
    def time_unit(self) -> tuple[str, float]:
        """The unit of the time column, with its device, and the seconds per unit."""
        times = [line.seconds.mean for line in self.lines if line.seconds is not None]
        unit, seconds = ("min", 60.0) if max(times, default=0.0) >= _MINUTES_FROM else ("s", 1.0)
        return f"{self.timed_on} {unit}".strip(), seconds

    def frame(self) -> pd.DataFrame:
        """One row per line, numbers unrounded, times in compute seconds: for csv, json, parquet.

        Each number has its mean over seeds and `<name>_seed_std`; a metric also has
        `<name>_gap_of_means` and `<name>_mean_gap`.
        """
        # Without lines the columns are still the same.
        columns = [*self._record(Line(study=""))]
        return pd.DataFrame([self._record(line) for line in self.lines], columns=columns)

    def _record(self, line: Line) -> dict[str, Any]:
        record: dict[str, Any] = {"sweep": self.sweep, "study": line.own_name}
        if any(each.knee is not None for each in self.lines):
            record["knee"] = line.knee
        record |= {"starred": line.study in self.starred, "runs": len(line.runs)}
        record |= {"study_key": line.study_key, "trial": line.trial, "point": line.point}
        for name in self.headers:
            cell = (line.metrics or {}).get(name)
            record |= _numbers(name, cell)
            record[f"{name}_gap_of_means"] = cell.gap_of_means if cell else None
            record[f"{name}_mean_gap"] = cell.mean_gap if cell else None
            record |= self._excess(line, name)
        record["average_gap_of_means"] = line.average_gap_of_means
        record["average_gap_percentage_of_means"] = line.average_gap_percentage_of_means
        for name, cell in (
            ("mean_average_gap", line.mean_average_gap),
            ("mean_average_gap_percentage", line.mean_average_gap_percentage),
            ("tug_of_war", line.tug_of_war),
            ("compute_seconds", line.seconds),
        ):
            record |= _numbers(name, cell)
        record |= self._judged(line)
        hyperparameters = line.hyperparameters
        record["method"] = line.method
        record["hyperparameters"] = None if hyperparameters is None else json.dumps(hyperparameters)
        record["note"] = line.note
        return record

    def _excess(self, line: Line, name: str) -> dict[str, float | None]:
        """Noise floor and excess gap of a metric, and what they are worth."""
        if self.evidence is None:
            return {}
        floor = self.evidence.floors[name].mean
        found = self.evidence.excess.get(line.study, {}).get(name)
        numbers: tuple[float | None, ...] = (None,) * 4
        if found is not None:
            numbers = (found.unbiased, found.low, found.high, found.p_value)
        of = (f"{name}_excess_gap{end}" for end in ("", "_low", "_high", "_p"))
        return {f"{name}_floor": floor, **dict(zip(of, numbers, strict=True))}

    def _judged(self, line: Line) -> dict[str, Any]:
        """Verdict and rank of a study, and the comparison with doing nothing."""
        if self.evidence is None:
            return {}
        judged = self.evidence.judgements.get(line.study)
        original = self.evidence.original if line.study == ORIGINAL else None
        return {
            "gap_over_floor": judged.gap if judged else original,
            "rank": judged.rank if judged else None,
            "verdict": str(judged.verdict) if judged else None,
            "retrain_p": judged.joint.p_value if judged else None,
            "nothing_difference": judged.nothing.difference if judged else None,
            "nothing_difference_low": judged.nothing.low if judged else None,
            "nothing_difference_high": judged.nothing.high if judged else None,
        }


def is_compared(column: str) -> bool:
    """Whether the functions here may look at a column of rows."""
    return column_of(column).name not in _NOT_LOOKED_AT


def _counted_among(columns: Collection[str]) -> set[str]:
    """Those of the metric columns of rows that count in the average gap: of known metrics."""
    held = set(columns)
    return set(counted_columns([m for m in metrics_of(held) if held.issuperset(m.columns)]))


def unknown_columns(rows: pd.DataFrame) -> list[str]:
    """The metric columns of rows that no known metric has: those of absent plug-ins."""
    held = _metric_columns(rows)
    known = headers_of(metrics_of(held))
    return [name for name in held if name not in known]


def _stored_only(columns: Collection[str]) -> frozenset[str]:
    """The columns of known metrics that are stored but not printed."""
    return frozenset().union(*(metric.stored_only for metric in metrics_of(columns)))


def comparisons(
    rows: pd.DataFrame,
    orders: Mapping[str, Sequence[str]] = MappingProxyType({}),
    tuning: Tuning = UNKNOWN,
) -> list[Comparison]:
    """One comparison per sweep in the rows, by name.

    Args:
        rows: of any sweeps.
        orders: each sweep's studies, in file order; studies no longer in the file come last.
        tuning: tuning seeds of studies, where known.
    """
    codes, names = pd.factorize(rows["sweep"], sort=True)
    found = []
    for number, sweep in enumerate(names):
        part = _Part(rows, np.flatnonzero(codes == number))
        studies = list(orders.get(str(sweep), ()))
        studies += sorted(set(part.studies) - set(studies))
        found.append(_comparison(part, studies, None, None, None, tuning))
    return found


def comparison(
    rows: pd.DataFrame,
    studies: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    counted: Collection[str] | None = None,
    measured: Collection[str] | None = None,
    tuning: Tuning = UNKNOWN,
) -> Comparison:
    """The comparison of one sweep's studies.

    If a name has rows of several studies (the file changed), the newest is shown.

    Args:
        rows: of one sweep, with the columns of `unlearn_ray.studies.rows`.
        studies: names of studies in the order of the table; sorted if left out.
        headers: of metric columns; those of the registered metrics if left out.
        counted: columns in the average gap; those of the registered metrics if left out.
        measured: columns to show; all that rows have if left out.
        tuning: tuning seeds of the studies, where known.
    """
    return _comparison(_Part(rows), studies, headers, counted, measured, tuning)


class _Part:
    """Rows of one sweep.

    Nearly all rows are of tuning, and a row has dozens of columns: what is looked at of those is
    copied alone.

    Args:
        rows: of any sweeps.
        positions: of the sweep's among them; all if left out.
    """

    def __init__(
        self, rows: pd.DataFrame, positions: Int64[np.ndarray, " own"] | None = None
    ) -> None:
        self._rows = rows
        self._own = np.arange(len(rows)) if positions is None else positions
        purposes = rows["purpose"].iloc[self._own]
        of_trials = purposes.isin(_OF_TRIALS).to_numpy(dtype=bool)
        looked_at = [name for name in rows.columns if name in _LOOKED_AT_OF_TRIALS]
        where = self._own[of_trials]
        # What chooses the winners, and the position of each row.
        self.trials = rows[looked_at].iloc[where].assign(**{_POSITION: where})
        self.references = rows.iloc[self._own[(purposes == "reference").to_numpy(dtype=bool)]]
        self.scores = rows.iloc[self._own[(purposes == "score").to_numpy(dtype=bool)]]

    @property
    def studies(self) -> list[str]:
        """The names of its studies."""
        return [*self.trials["study"].unique()]

    @property
    def last(self) -> pd.Series[Any]:
        """Its last row."""
        row: pd.Series[Any] = self._rows.iloc[self._own[-1]]
        return row

    def whole(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Every column of some of `trials`."""
        return self._rows.iloc[trials[_POSITION].to_numpy()]

    def metric_columns(self, counted: Collection[str] = ()) -> list[str]:
        """Its measured metrics, as of `_metric_columns`."""
        return _metric_columns(self._rows, counted, self._own)

    def has_retrained(self) -> bool:
        """Whether its models have retrained ones to compare with; see `has_retrained`."""
        return has_retrained(self._rows[[*_KEYS]].iloc[self._own])


def _comparison(
    part: _Part,
    studies: Sequence[str] | None,
    headers: Mapping[str, str] | None,
    counted: Collection[str] | None,
    measured: Collection[str] | None,
    tuning: Tuning,
) -> Comparison:
    notes: tuple[str, ...] = ()
    held = part.metric_columns()
    headers = headers_of(metrics_of(held)) if headers is None else headers
    if counted is None:
        counted = _counted_among(held)
    columns = sorted(
        (name for name in held if measured is None or name in measured),
        key=lambda name: name not in counted,
    )
    current, older = newest_studies(part.trials)
    notes += older
    unknown = [name for name in columns if name not in headers]
    if unknown:
        notes += (f"{_NOT_KNOWN}: {', '.join(unknown)}",)
    unprinted = [name for name in columns if name in _stored_only(columns)]
    if unprinted:
        notes += (f"stored and not printed: {', '.join(unprinted)}",)
    chosen = winners_of(current, tuning)
    winners = _winning_rows(part.whole(current[current["purpose"] == "reporting"]), chosen)
    partly = _measured_partly(winners, columns)
    if partly:
        notes += (f"not measured on every seed yet, and left out: {', '.join(partly)}",)
        columns = [name for name in columns if name not in partly]
    runs = _runs(winners)
    known_names = sorted(part.studies) if studies is None else studies
    names = [label for name in known_names for label in _labels(winners, name)]
    notes += (*_mixed_machines(current), *_of_goals(current, winners, chosen))
    shown_counted = tuple(column for column in columns if column in counted)
    of_study = winners.groupby("study").indices
    reported = {str(name): winners.iloc[found] for name, found in of_study.items()}
    nothing = winners.iloc[:0]
    of_names = {name: reported.get(name, nothing) for name in names}
    lines = [
        _study_line(name, of_names[name], columns, shown_counted, runs)
        if len(of_names[name])
        else Line(
            study=name,
            note=_why_no_rows(part.whole(current[current["study"] == name]), tuning),
        )
        for name in names
    ]
    compares = has_retrained(winners) if len(winners) else part.has_retrained()
    references = [_retrained_line(winners, columns)] if len(winners) and compares else []
    references += _original_lines(part.references, winners, columns, shown_counted)
    known = evidence(
        {name: _complete(of_name) for name, of_name in of_names.items()},
        _of_models(part.references, ORIGINAL, winners, "key_original"),
        _of_models(part.references, RETRAIN, winners, "key_retrained"),
        columns,
        shown_counted,
    )
    if not compares:
        notes += (_NOT_COMPARED,)
    elif known is None and shown_counted and len(winners):
        notes += (_NO_EVIDENCE,)
    shown = part.last
    problem = ", ".join(str(shown[name]) for name in ("dataset", "forget_set", "family", "model"))
    return Comparison(
        sweep=str(shown["sweep"]),
        problem=problem,
        headers={column: headers.get(column, column) for column in columns},
        counted=shown_counted,
        lines=(*references, *lines),
        evidence=known,
        scores=score_lines(part.scores, _scored_models(lines)),
        notes=notes,
        stored_only=frozenset(unprinted),
        timed_on=_timed_on(winners),
        compares=compares,
    )


def has_retrained(rows: pd.DataFrame) -> bool:
    """Whether models of these rows have retrained ones to compare with; True if there is none."""
    original, retrained = (rows[key].notna().any() for key in _KEYS)
    return bool(retrained or not original)


def models_of(rows: pd.DataFrame, tuning: Tuning = UNKNOWN) -> dict[str, pd.DataFrame]:
    """Complete rows of the reporting runs, by name: the reference models, each study's winner.

    Args:
        rows: of one sweep.
        tuning: tuning seeds of the studies, where known.
    """
    part = _Part(rows)
    trials = newest_studies(part.trials)[0]
    reporting = part.whole(trials[trials["purpose"] == "reporting"])
    winners = _winning_rows(reporting, winners_of(trials, tuning))
    references = {
        RETRAIN: _of_models(part.references, RETRAIN, winners, "key_retrained"),
        ORIGINAL: _of_models(part.references, ORIGINAL, winners, "key_original"),
    }
    if not len(winners):  # of whatever was trained first
        of_references = _complete(part.references).sort_values("created")
        references = {
            name: of_references[of_references["study"] == name].drop_duplicates(_RUN, keep="last")
            for name in references
        }
    studies = {str(name): _complete(own) for name, own in winners.groupby("study")}
    return {**references, **studies}


def printed_columns(rows: pd.DataFrame) -> list[str]:
    """The measured metric columns that tables print, those of the average gap first."""
    found = _metric_columns(rows, _counted_among(_metric_columns(rows)))
    return [name for name in found if name not in _stored_only(found)]


def _of_unknown_metrics(columns: Sequence[str]) -> str:
    return (
        f"no metric that is installed here has the columns {', '.join(columns)}: they are not in "
        "the average gap, even if they were when the sweep ran"
    )


def _scored_models(lines: Iterable[Line]) -> dict[str, tuple[str, str]]:
    """Study key and point of what score rows are about, as `score_lines` takes them."""
    winners = {
        each.own_name: (each.study_key or "", each.point or "")
        for each in lines
        if each.knee is not False
    }
    return {ORIGINAL: ("", ""), RETRAIN: ("", ""), **winners}


def _metric_columns(
    rows: pd.DataFrame,
    counted: Collection[str] = (),
    positions: Int64[np.ndarray, " own"] | slice = slice(None),
) -> list[str]:
    """Measured metrics: those in the average gap first, each group in the rows' order.

    Args:
        rows: of any sweeps.
        counted: the columns in the average gap.
        positions: of the rows that count.
    """
    columns = [
        name.removesuffix("_retrained")
        for name in rows.columns
        if name.endswith("_retrained") and f"{name.removesuffix('_retrained')}_gap" in rows.columns
    ]
    measured = [
        name
        for name in columns
        if any(
            rows[each].notna().to_numpy()[positions].any() for each in (name, f"{name}_retrained")
        )
    ]
    return sorted(measured, key=lambda name: name not in counted)


def _measured_partly(winners: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Metrics that only some of a study's reporting rows have."""
    complete = winners.loc[winners["state"] == State.COMPLETE, ["study", *columns]]
    known = complete[list(columns)].notna().groupby(complete["study"])
    partly = (known.any() & ~known.all()).any()
    return [name for name in columns if partly[name]]


def newest_studies(trials: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of the newest study of each name, and notes of how many older ones are left out."""
    studies, names = pd.factorize(trials["study"], sort=True)
    kept, notes = studies >= 0, []
    keys = trials[["study", "study_key"]].drop_duplicates()["study"].value_counts()
    for number, study in enumerate(names):
        older = int(keys[study]) - 1
        if older:
            own = studies == number
            part = trials.loc[own, ["study_key", "created"]]
            newest = part.groupby("study_key")["created"].max().sort_values().index[-1]
            kept &= ~own | (trials["study_key"] == newest).to_numpy(dtype=bool, na_value=False)
            notes.append(f"{study}: {older} older stud{'y' if older == 1 else 'ies'} left out")
    # By study, each in the order of its rows. All at once: copying each study's rows took longer.
    order = np.argsort(studies, kind="stable")
    return trials.iloc[order[kept[order]]], tuple(notes)


def _timed_on(rows: pd.DataFrame) -> str:
    kinds = {machine.partition(":")[0] for machine in machines_of(rows)}
    return {"cpu": "CPU", "cuda": "GPU"}.get(kinds.pop(), "") if len(kinds) == 1 else ""


def machines_of(rows: pd.DataFrame) -> list[str]:
    """The machines of every step behind rows, sorted."""
    told = rows["made_on"].dropna().unique()
    return sorted({machine for each in told for machine in each.split(MADE_ON_SEPARATOR)})


def _mixed_machines(rows: pd.DataFrame) -> tuple[str, ...]:
    """A warning if compared numbers come from several kinds of machine."""
    machines = machines_of(rows)
    if len(machines) < 2:
        return ()
    shown = "; ".join(machines[:MACHINES_SHOWN])
    more = len(machines) - MACHINES_SHOWN
    return (
        f"warning: computed on {len(machines)} kinds of machine, whose numbers differ for the same "
        f"seeds: {shown}" + (f"; and {more} more" if more > 0 else ""),
    )


def _winning_rows(reporting: pd.DataFrame, winners: _Winners) -> pd.DataFrame:
    """Reporting rows of each study's winner, one per run, the newest.

    Of a Pareto front, those of every member, under a name of its own; `of_study` and `knee` then
    say whose it is.
    """
    reporting = reporting.sort_values(["created", "trial"])
    chosen = {names[1]: several for names, several in winners.items()}
    kept: list[np.ndarray] = []
    members: list[pd.DataFrame] = []
    # A few columns, and positions in place of rows: a row has dozens of columns.
    runs = reporting[["study", "trial", *_RUN]].reset_index(drop=True)
    for study, part in runs.groupby("study"):
        known = set(part["trial"])
        of_study = [one for one in chosen.get(str(study), ()) if one.number in known]
        numbers = [one.number for one in of_study] or [part["trial"].iloc[-1]]
        front = {one.number: one for one in of_study if one.on_front}
        for number in numbers if front else numbers[:1]:
            rows = part[part["trial"] == number].drop_duplicates(_RUN, keep="last")
            one = front.get(number)
            if one is None:
                kept.append(rows.index.to_numpy())
                continue
            label = f"{study} #{number}{' (knee)' if one.knee else ''}"
            of_member = {"of_study": study, "knee": one.knee, "by_first": one.score}
            members.append(reporting.iloc[rows.index.to_numpy()].assign(study=label, **of_member))
    if not kept and not members:
        return reporting
    whole = reporting.iloc[np.concatenate([np.empty(0, dtype=int), *kept])]
    found = pd.concat([*([whole] if len(whole) else []), *members]) if members else whole
    return found.sort_values(["study", *_RUN])


def _labels(winners: pd.DataFrame, study: str) -> list[str]:
    """The names of a study's lines: of its front, by the first objective; else its own."""
    if "of_study" not in winners:
        return [study]
    members = winners[winners["of_study"] == study].sort_values(["by_first", "trial"])
    return [str(label) for label in members["study"].unique()] or [study]


def _of_goals(trials: pd.DataFrame, winners: pd.DataFrame, best: _Winners) -> list[str]:
    """What is to be said of Pareto fronts and constraints."""
    notes = []
    fronts = winners[winners["of_study"].notna()] if "of_study" in winners else winners[:0]
    for objective in fronts["objective"].unique():
        notes.append(
            f"#n is trial n, a member of its study's Pareto front of {objective} on the tuning"
            " seeds; the knee is nearest to the front's best of each, scaled to the front's range"
        )
    for (_, study, _), chosen in best.items():
        if chosen and chosen[0].violation > 0:
            objective = trials.loc[trials["study"] == study, "objective"].iloc[0]
            notes.append(
                f"{study}: no complete trial keeps the constraints ({objective}); shown is the one"
                " that breaks them least"
            )
    return notes


def _values(text: object) -> dict[str, Any] | None:
    """A row's hyperparameters; None if they cannot be read."""
    try:
        values = json_value(str(text))
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _study_line(
    study: str,
    rows: pd.DataFrame,
    columns: Sequence[str],
    counted: Sequence[str],
    runs: Sequence[Run],
) -> Line:
    """The line of a study, from the rows of its winner's reporting runs, at least one."""
    complete = _complete(rows)
    trial = int(rows["trial"].iloc[0])
    hyperparameters = _values(rows["hyperparameters"].iloc[0])
    note = ""
    if len(complete) < len(runs):
        failures = rows.loc[rows["state"] != State.COMPLETE, "failure"].dropna()
        note = f"{len(complete)} of {counted_words(len(runs), 'run')}" + (
            f": {failures.iloc[0]}" if len(failures) else ""
        )
    return Line(
        study=study,
        runs=_runs(complete),
        **_measured(complete, columns, counted),
        seconds=_cell(complete["unlearning_compute_seconds"]),
        method=rows["method"].iloc[0],
        study_key=rows["study_key"].iloc[0],
        trial=trial,
        point=rows["point"].iloc[0],
        hyperparameters=hyperparameters,
        note=note,
        **_of_front(rows),
    )


def _of_front(rows: pd.DataFrame) -> dict[str, Any]:
    """Whose front a winner's rows are on; empty if on none."""
    study = rows["of_study"].iloc[0] if "of_study" in rows else None
    return {"of_study": study, "knee": bool(rows["knee"].iloc[0])} if isinstance(study, str) else {}


def _why_no_rows(trials: pd.DataFrame, tuning: Tuning) -> str:
    if not len(trials):
        return "not started"
    states = scored_trials(trials, tuning)["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    failures = trials["failure"].dropna()
    reason = f"; {failures.iloc[0]}" if len(failures) else ""
    return f"no row on a reporting seed (tuning trials: {counts}{reason})"


def _retrained_line(winners: pd.DataFrame, columns: Sequence[str]) -> Line:
    """The retrained model's values from the rows, so that they match the rows' gaps."""
    ordered = winners.sort_values([*_RUN, "created"])
    first = ordered.dropna(subset=[f"{name}_retrained" for name in columns], how="all")
    rows = first.drop_duplicates(_RUN)
    return Line(
        study=RETRAIN,
        runs=_runs(rows),
        metrics={
            name: cell for name in columns if (cell := _cell(rows[f"{name}_retrained"])) is not None
        },
        seconds=_cell(rows["retraining_compute_seconds"]),
    )


def _original_lines(
    references: pd.DataFrame, winners: pd.DataFrame, columns: Sequence[str], counted: Sequence[str]
) -> list[Line]:
    """The original model, in the runs of the winners; empty if it was not measured."""
    original = _of_models(references, ORIGINAL, winners, "key_original")
    if not len(original):
        return []
    return [
        Line(
            study=ORIGINAL,
            runs=_runs(original),
            **_measured(original, columns, counted),
        )
    ]


def _of_models(
    references: pd.DataFrame, study: str, winners: pd.DataFrame, key: str
) -> pd.DataFrame:
    """The complete rows of a reference model, of the models that the winners come from."""
    compared = references[key].isin(winners[key].dropna().unique())
    of_study = _complete(references[(references["study"] == study) & compared])
    return of_study.sort_values([*_RUN, "created"]).drop_duplicates(_RUN, keep="last")


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    complete = rows["state"] == State.COMPLETE
    return rows if complete.all() else rows[complete]


def _runs(rows: pd.DataFrame) -> tuple[Run, ...]:
    pairs = zip(rows["seed"], rows["replicate"], strict=True)
    return tuple(sorted({Run(int(seed), int(replicate)) for seed, replicate in pairs}))


def _measured(rows: pd.DataFrame, columns: Sequence[str], counted: Sequence[str]) -> dict[str, Any]:
    """The numbers of a line, from a model's rows, one per seed."""
    found = {name: _gap_cell(rows, name) for name in columns}
    cells = {name: cell for name, cell in found.items() if cell is not None}
    of_counted = [cells.get(name, Cell(math.nan)) for name in counted]
    return {
        "metrics": cells,
        "average_gap_of_means": _mean([cell.gap_of_means for cell in of_counted]),
        "average_gap_percentage_of_means": _mean([cell.gap_percentage for cell in of_counted]),
        "mean_average_gap": _cell(rows["average_gap"]),
        "mean_average_gap_percentage": _cell_of_all(rows["average_gap_percentage"]),
        "tug_of_war": _cell_of_all(rows["tug_of_war"]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if any value is missing, or there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _gap_cell(rows: pd.DataFrame, name: str) -> Cell | None:
    """A metric over seeds, and its gaps to the retrained models of the same seeds."""
    unlearned, retrained = _floats(rows[name]), _floats(rows[f"{name}_retrained"])
    cell = _cell_of_numbers(unlearned)
    both = ~(np.isnan(unlearned) | np.isnan(retrained))
    if cell is None or not both.any():
        return cell
    unlearned, retrained = unlearned[both], retrained[both]
    reference = {name: float(retrained.mean())}
    gap_of_means = gaps({name: float(unlearned.mean())}, reference)
    return replace(
        cell,
        gap_of_means=gap_of_means[name],
        mean_gap=float(np.abs(unlearned - retrained).mean()),
        gap_percentage=average_gap_percentage(gap_of_means, reference, (name,)),
    )


def _cell_of_all(values: pd.Series[float]) -> Cell | None:
    """The cell; None if any seed has no value."""
    return None if values.isna().any() else _cell(values)


def _cell(values: pd.Series[float]) -> Cell | None:
    return _cell_of_numbers(_floats(values))


def _cell_of_numbers(numbers: Float64[np.ndarray, " rows"]) -> Cell | None:
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return None
    std = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return Cell(mean=float(numbers.mean()), std=std)


def _floats(values: pd.Series[Any]) -> Float64[np.ndarray, " rows"]:
    # In NumPy: pandas takes a millisecond for each cell of a table.
    return values.to_numpy(dtype=float, na_value=math.nan)


def _numbers(name: str, cell: Cell | None) -> dict[str, float | None]:
    return {name: cell.mean if cell else None, f"{name}_seed_std": cell.std if cell else None}
