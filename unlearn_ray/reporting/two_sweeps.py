"""Two sweeps beside each other: their studies of one name, paired by seed and replicate."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unlearn_ray.core.flat import differing
from unlearn_ray.core.gaps import counted_columns
from unlearn_ray.core.printable import printable
from unlearn_ray.core.runs import RETRAIN, Run
from unlearn_ray.core.words import counted
from unlearn_ray.evidence.paired import Difference, difference
from unlearn_ray.reporting.declared import headers_of, metrics_of
from unlearn_ray.reporting.evidence import LEVEL
from unlearn_ray.reporting.grid import Grid, aligned, blocks, markdown_grid
from unlearn_ray.reporting.ranking import UNKNOWN, Tuning
from unlearn_ray.reporting.render import WIDTH
from unlearn_ray.reporting.table import has_retrained, machines_of, models_of, printed_columns

AVERAGE_GAP = "average_gap"
_SECONDS = {RETRAIN: "retraining_compute_seconds"}
_STUDY_SECONDS = "unlearning_compute_seconds"
_LABELS = ("dataset", "forget_set", "family", "model", "objective")
# What of a sweep its numbers depend on, besides the method and what is searched of it.
_PROTOCOL = ("setting", "objective", "search", "tuning", "tuning_replicates", "steps")
# A seed chooses the split of these.
_SPLIT = ("dataset", "forget_set", "validation")
_MOST_FIELDS, _MOST_CHARACTERS = 8, 60
_READ = (
    "Difference: the second sweep's less the first's, over the reporting runs of each study's best "
    "trial, with its interval of 95 % (Student's t), not corrected for the number of lines. Runs "
    "are paired by seed and replicate, and the replicates of one seed averaged first; over the "
    "replicates of a single seed, an interval says nothing of other splits. An average gap is a "
    "run's own, over the metrics that both sweeps have."
)


@dataclass(frozen=True)
class Compared:
    """One number of a study or reference model in two sweeps.

    Attributes:
        study: its name; `RETRAIN` or `ORIGINAL`.
        column: of rows.
        header: of the column, in printed tables.
        found: the difference.
        digits: that are printed.
    """

    study: str
    column: str
    header: str
    found: Difference
    digits: int


@dataclass(frozen=True)
class TwoSweeps:
    """The comparison of two sweeps.

    Attributes:
        names, problems: of the sweeps, with dataset, forget set, family and model in words.
        lines: a study's are next to each other, reference models first.
        notes: what differs, and what is left out.
    """

    names: tuple[str, str]
    problems: tuple[str, str]
    lines: tuple[Compared, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> tuple[str, ...]:
        """The studies and reference models that have the same numbers in both sweeps."""
        studies = dict.fromkeys(line.study for line in self.lines)
        differ = {line.study for line in self.lines if line.found.differs}
        return tuple(study for study in studies if study not in differ)

    def frame(self) -> pd.DataFrame:
        """A row per study and number, unrounded; intervals without a value are null."""
        first, second = self.names
        columns = [
            *("study", "metric", "first_sweep", "second_sweep", "first", "second", "difference"),
            *("difference_low", "difference_high", "paired", "over", "first_count", "second_count"),
        ]
        rows = [
            [line.study, line.column, first, second, line.found.first, line.found.second,
             line.found.value, line.found.low, line.found.high, line.found.paired,
             line.found.over, *line.found.counts]
            for line in self.lines
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def grid(self) -> Grid:
        """Header and rows, rounded; a study is named in its first row, if anything differs."""
        first, second = self.names
        grid = [["Study", "Metric", first, second, "Difference", "N"]]
        named = ""
        for line in (line for line in self.lines if line.study not in self.same):
            found, digits = line.found, line.digits
            interval = (
                ""
                if math.isnan(found.low)
                else f" [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
            )
            grid.append([
                line.study if line.study != named else "",
                line.header,
                f"{found.first:.{digits}f}",
                f"{found.second:.{digits}f}",
                f"{found.value:+.{digits}f}{interval}",
                _number(found),
            ])  # fmt: skip
            named = line.study
        return grid

    def plain_text(self, width: int = WIDTH) -> str:
        """Aligned text, no line longer than `width`, unless a word is."""
        grid = "\n\n".join(map(aligned, blocks(self.grid(), width)))
        parts = [*(_wrapped(line, width) for line in self._title()), grid]
        return "\n".join([*parts, *(_wrapped(printable(line), width) for line in self.below())])

    def markdown(self) -> str:
        """GitHub's."""
        below = map(printable, self.below())
        return "\n\n".join([*self._title(), markdown_grid(self.grid()), *below])

    def _title(self) -> list[str]:
        return [
            printable(f"{name}: {problem}")
            for name, problem in zip(self.names, self.problems, strict=True)
        ]

    def below(self) -> list[str]:
        """How to read the table, and what differs besides."""
        same = [f"no number differs: {', '.join(self.same)}"] if self.same else []
        return [_READ, *same, *self.notes]


def two_sweeps(
    first: pd.DataFrame,
    second: pd.DataFrame,
    identities: Mapping[str, Any],
    tuning: Tuning = UNKNOWN,
) -> TwoSweeps:
    """Compare two sweeps.

    Args:
        first, second: rows of one sweep each.
        identities: of studies, by study key, as stored when a sweep starts.
        tuning: tuning seeds of studies, where known.
    """
    both = (first, second)
    names = (str(first["sweep"].iloc[0]), str(second["sweep"].iloc[0]))
    fields = _differing_fields(both, identities)
    share_splits = not any(_is_of_split(name) for name, *_ in fields)
    models = tuple(_models(rows, tuning) for rows in both)
    columns = [name for name in printed_columns(first) if name in printed_columns(second)]
    metrics = metrics_of(columns)
    of_average = counted_columns([one for one in metrics if {*columns} >= {*one.columns}])
    headers = headers_of(metrics)
    compares = all(map(has_retrained, both)) and bool(of_average)
    lines = []
    for study in [name for name in models[0] if name in models[1]]:
        shown = [
            (name, headers.get(name, name), 2 if name in of_average else 4) for name in columns
        ]
        shown += [(AVERAGE_GAP, "Avg. Gap", 2)] if compares and study != RETRAIN else []
        shown += [(_SECONDS.get(study, _STUDY_SECONDS), "RTE (s)", 2)]
        for column, header, digits in shown:
            values = [_values(each[study], column, of_average) for each in models]
            if all(values):
                found = difference(*values, share_splits=share_splits, level=LEVEL)
                lines.append(Compared(study, column, header, found, digits))
    notes = (
        *_of_protocol(fields, share_splits),
        *_of_machines(both),
        *_of_studies(names, models),
        *_of_metrics(names, both, columns),
    )
    return TwoSweeps(names, (_problem(first), _problem(second)), tuple(lines), notes)


def _models(rows: pd.DataFrame, tuning: Tuning) -> dict[str, pd.DataFrame]:
    """Complete rows of the reporting runs, by name; of a Pareto front, those of its knee."""
    found = {}
    for name, part in models_of(rows, tuning).items():
        if len(part) and isinstance(study := part.iloc[0].get("of_study"), str):
            if part["knee"].iloc[0]:
                found[study] = part
        elif len(part):
            found[name] = part
    return found


def _values(rows: pd.DataFrame, column: str, of_average: Sequence[str]) -> dict[Run, float]:
    """A number of each run that has it."""
    if column == AVERAGE_GAP:
        gaps = rows[[f"{name}_gap" for name in of_average]].astype(float)
        numbers = gaps.mean(axis="columns", skipna=False)
    elif column in rows:
        numbers = rows[column].astype(float)
    else:
        return {}
    runs = zip(rows["seed"], rows["replicate"], numbers, strict=True)
    return {Run(int(seed), int(n)): value for seed, n, value in runs if math.isfinite(value)}


def _number(found: Difference) -> str:
    """What an interval is over, and how many."""
    first, second = found.counts
    text = f"{first} and {second} {found.over}s"
    if first == second:
        text = counted(first, found.over if first > 1 else "run")
    return text if found.paired else f"{text}, unpaired"


def _differing_fields(
    both: Sequence[pd.DataFrame], identities: Mapping[str, Any]
) -> list[tuple[str, str | None, str | None]]:
    """The fields of the protocols in which two sweeps differ, with both values."""
    known = [_identity(rows, identities) for rows in both]
    if all(known):
        return list(differing(*known))
    said = [{name: str(rows.iloc[-1][name]) for name in _LABELS} for rows in both]
    return list(differing(*said))


def _identity(rows: pd.DataFrame, identities: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol of a sweep's newest study that the store knows; empty if it knows none."""
    keys = rows.sort_values("created", ascending=False)["study_key"].unique()
    identity: dict[str, Any] = next((identities[key] for key in keys if key in identities), {})
    protocol = {name: identity[name] for name in _PROTOCOL if name in identity}
    # Its fields have the names of a sweep file.
    return {**protocol.pop("setting", {}), **protocol}


def _is_of_split(name: str) -> bool:
    return name.partition(".")[0] in _SPLIT


def _of_protocol(
    fields: Sequence[tuple[str, str | None, str | None]], share_splits: bool
) -> list[str]:
    if not fields:
        return []
    shown = "; ".join(
        f"{name}: {_short(one)} and {_short(other)}" for name, one, other in fields[:_MOST_FIELDS]
    )
    more = f"; and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else ""
    unpaired = "" if share_splits else ". So the same seed is another split, and no run is paired"
    return [f"warning: the protocols differ in {shown}{more}{unpaired}"]


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _short(value: str | None) -> str:
    text = "(none)" if value is None else value
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _of_machines(both: Sequence[pd.DataFrame]) -> list[str]:
    machines = [machines_of(rows) for rows in both]
    if machines[0] == machines[1]:
        return []
    first, second = (", ".join(each) or "unknown" for each in machines)
    return [f"warning: computed on different machines ({first}; and {second}): times differ, too"]


def _of_studies(names: tuple[str, str], models: Sequence[Mapping[str, pd.DataFrame]]) -> list[str]:
    notes = []
    for name, mine, others in ((names[0], *models), (names[1], *reversed(models))):
        alone = [study for study in mine if study not in others]
        if alone:
            notes.append(f"only {name} has results of {', '.join(alone)}")
    return notes


def _of_metrics(
    names: tuple[str, str], both: Sequence[pd.DataFrame], shared: Sequence[str]
) -> list[str]:
    notes = []
    for name, rows in zip(names, both, strict=True):
        alone = [column for column in printed_columns(rows) if column not in shared]
        if alone:
            notes.append(f"only {name} measured {', '.join(alone)}, which no average gap here has")
    return notes


def _problem(rows: pd.DataFrame) -> str:
    shown = rows.iloc[-1]
    return ", ".join(str(shown[name]) for name in ("dataset", "forget_set", "family", "model"))
