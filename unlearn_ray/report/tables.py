"""The tables of a report: grids of text with headings, as the command line prints them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import listed
from unlearn_ray.report.evidence import SweepEvidence
from unlearn_ray.report.records import records
from unlearn_ray.reporting.grid import Grid
from unlearn_ray.reporting.render import (
    footnotes,
    further_tables,
    hyperparameters,
    main_grid,
    title,
)
from unlearn_ray.reporting.table import Comparison
from unlearn_ray.studies.history import hyperparameters_of
from unlearn_ray.studies.rows import MADE_ON_SEPARATOR, State

if TYPE_CHECKING:
    import pandas as pd

_MOST_STOPPED = 100
_NONE = "-"
_NUMBER = re.compile(r"[+-]?[\d.]")


@dataclass(frozen=True)
class ShownTable:
    """A table.

    Attributes:
        caption: what it shows.
        grid: header and rows; the first column names its row.
        notes: below it.
        bold: the first cells of rows that stand out.
    """

    caption: str
    grid: Grid
    notes: tuple[str, ...] = ()
    bold: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def words(self) -> frozenset[int]:
        """The columns, counted from 0, that hold words and not numbers alone."""
        rows = self.grid[1:]
        return frozenset(
            column
            for column in range(len(self.grid[0]))
            if not all(_NUMBER.match(row[column]) or row[column] == _NONE for row in rows)
        )


def comparison_tables(comparison: Comparison) -> list[ShownTable]:
    """What `results compare` prints; ranks and verdicts stand in the first table, too."""
    grid = main_grid(comparison)
    known = comparison.evidence
    if known is not None and known.judgements:
        judged, ranks = known.judgements, [one.rank for one in known.judgements.values()]
        extra = {
            name: [f"{one.rank}{'=' if ranks.count(one.rank) > 1 else ''}", f"{one.verdict}"]
            for name, one in judged.items()
        }
        lines = zip([None, *comparison.lines], grid, strict=True)
        grid = [
            [
                row[0],
                *(["Rank", "Verdict"] if line is None else _extra(extra, line.study)),
                *row[1:],
            ]
            for line, row in lines
        ]
    bold = frozenset(f"{name}*" for name in comparison.starred)
    caption, notes = title(comparison).replace("\n", "; "), tuple(footnotes(comparison))
    return [
        ShownTable(caption, grid, notes, bold),
        *(
            ShownTable(heading, below, tuple(lines_below))
            for heading, below, lines_below in further_tables(comparison)
        ),
    ]


def _extra(extra: dict[str, list[str]], study: str) -> list[str]:
    return extra.get(study, [_NONE, _NONE])


def study_table(evidence: SweepEvidence) -> ShownTable | None:
    """How many trials of each study ended in which way."""
    if evidence.status is None or not evidence.status.studies:
        return None
    grid = [["Study", "Trials", "Complete", "Stopped", "Failed", "Unfinished", "Reporting runs"]]
    for one in evidence.status.studies:
        counts = (one.complete, one.stopped, one.failed, one.unfinished)
        ended = f"{one.ended} of {one.wanted}"
        reported = f"{one.reported} of {one.to_report}"
        grid.append([one.name, ended, *map(str, counts), reported])
    return ShownTable("Trials of each study", grid)


def failure_table(evidence: SweepEvidence) -> ShownTable | None:
    """Failed trials and steps, alike ones together; None if nothing failed."""
    grid = [["Study or step", "Times", "Newest", "Reason"]]
    if evidence.status is not None:
        grid += [
            [one.name, f"{one.count}", one.newest, one.reason] for one in evidence.status.failures
        ]
    else:
        failed = evidence.rows[evidence.rows["state"] == State.FAILED]
        for (study, reason), part in failed.groupby(["study", "failure"]):
            grid.append([f"{study}", f"{len(part)}", f"{part['created'].max()}", f"{reason}"])
    return ShownTable("What failed, and why", grid) if len(grid) > 1 else None


def stopped_table(evidence: SweepEvidence) -> ShownTable | None:
    """Trials that were stopped early; None if none was."""
    if not (evidence.rows["purpose"] == "tuning").any():
        return None
    trials = evidence.trials
    stopped = trials[trials["state"] == State.STOPPED].sort_values(["study", "trial"])
    if not len(stopped):
        return None
    grid = [["Trial", "Seeds run", "Mean score so far", "What was searched"]]
    varied = {study: _varied(part) for study, part in trials.groupby("study")}
    for row in records(stopped.head(_MOST_STOPPED)):
        point = {name: of for name, of in _point(row).items() if name in varied[row["study"]]}
        name = f"{row['study']} #{row['trial']}"
        numbers = [f"{row['seeds']}", f"{row['score']:.4g}"]
        grid.append([name, *numbers, hyperparameters(point) or _NONE])
    more = len(stopped) - _MOST_STOPPED
    notes = (f"and {more:,} more",) if more > 0 else ()
    caption = "Stopped early: clearly worse than other trials of the study on the same seeds"
    return ShownTable(caption, grid, notes)


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(hyperparameters_of(row))


def _varied(trials: pd.DataFrame) -> set[str]:
    """The fields in which the trials of a study differ."""
    points = list(map(_point, records(trials[["study", "trial", "hyperparameters"]])))
    names = {name for point in points for name in point}
    return {name for name in names if len({f"{point.get(name)}" for point in points}) > 1}


def machine_table(evidence: SweepEvidence) -> ShownTable | None:
    """Machines and versions of libraries behind the rows; None without rows."""
    rows = evidence.rows
    grid = [["What", "Value"]]
    if "made_on" in rows:
        cells = rows["made_on"].dropna().unique()
        kinds = sorted({one for cell in cells for one in str(cell).split(MADE_ON_SEPARATOR)})
        grid += [["machine", one] for one in kinds]
    if "host" in rows:
        grid.append(["hosts", listed(sorted(map(str, rows["host"].dropna().unique())), 20)])
    for name in sorted(one for one in rows.columns if one.startswith("version_")):
        values = sorted(map(str, rows[name].dropna().unique()))
        if values:
            grid.append([name.removeprefix("version_"), listed(values, 20)])
    return ShownTable("Machines, and versions of libraries", grid) if len(grid) > 1 else None


def key_tables(evidence: SweepEvidence) -> list[ShownTable]:
    """Keys of studies, of reference steps, and of the steps behind each winner's runs."""
    found = []
    manifest = evidence.manifest
    if manifest is not None:
        grid = [["Study", "Method", "Key"]]
        grid += [[one.name, one.kind, one.key] for one in manifest.studies]
        found.append(ShownTable("Keys of the studies", grid))
        grid = [["Reference step", "Key"], *([one.name, one.key] for one in manifest.references)]
        found.append(ShownTable("Keys of the reference steps", grid))
    runs = _run_keys(evidence)
    return [*found, *([runs] if runs else [])]


def _run_keys(evidence: SweepEvidence) -> ShownTable | None:
    lines = () if evidence.comparison is None else evidence.comparison.lines
    keys_of = [f"key_{of}" for of in ("unlearn", "original", "retrained")]
    read = ["study_key", "trial", "seed", "replicate", *keys_of]
    is_reported = evidence.rows["purpose"] == "reporting"
    reporting = evidence.rows.loc[is_reported, [each for each in read if each in evidence.rows]]
    grid = [["Winner", "Seed", "Replicate", "Unlearned", "Original", "Retrained"]]
    for line in lines:
        if line.study_key is None:
            continue
        of_study = reporting["study_key"] == line.study_key
        own = reporting[of_study & (reporting["trial"] == line.trial)]
        for row in records(own.sort_values(["seed", "replicate"])):
            keys = (row.get(name) for name in keys_of)
            run = [f"{row['seed']}", f"{row['replicate']}"]
            shown = [key if isinstance(key, str) else _NONE for key in keys]
            grid.append([f"{line.own_name} #{line.trial}", *run, *shown])
    return ShownTable("Keys of each winner's runs", grid) if len(grid) > 1 else None
