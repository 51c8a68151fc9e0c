"""A comparison, and any other frame, as text: for terminals, plain, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from unlearn_ray.pipeline.rows import RETRAIN
from unlearn_ray.reporting.grid import Grid, aligned, markdown_grid, rich_grid
from unlearn_ray.reporting.table import Cell, Comparison, Line

_NONE = "-"
_TUG_OF_WAR = "ToW (1 is best)"


def plain_text(comparison: Comparison) -> str:
    """Aligned text, for logs and files."""
    blocks = [title(comparison), aligned(main_grid(comparison))]
    if comparison.best:
        blocks[-1] += "\n* smallest average gap"
    further = further_grid(comparison)
    if further:
        blocks.append(f"Not in the average gap\n{aligned(further)}")
    return "\n\n".join([*blocks, *_paragraphs(comparison)])


def markdown(comparison: Comparison) -> str:
    """GitHub tables; the row with the smallest average gap is bold."""
    blocks = [title(comparison), markdown_grid(main_grid(comparison, bold="**"))]
    further = further_grid(comparison)
    if further:
        blocks += ["Not in the average gap:", markdown_grid(further)]
    return "\n\n".join([*blocks, *(part.replace("\n", "\n- ") for part in _paragraphs(comparison))])


def rich_view(comparison: Comparison) -> RenderableType:
    """Tables for a terminal, gaps on a line of their own; the best row is bold."""
    parts: list[RenderableType] = [Text(title(comparison), style="bold")]
    parts.append(rich_grid(main_grid(comparison, wrap="\n"), bold=comparison.best))
    if comparison.best:
        parts.append(Text("* smallest average gap", style="dim"))
    further = further_grid(comparison, wrap="\n")
    if further:
        parts += [Text("\nNot in the average gap"), rich_grid(further, bold=None)]
    parts += [Text(f"\n{part}") for part in _paragraphs(comparison)]
    return Group(*parts)


def title(comparison: Comparison) -> str:
    """What the table is about, and how to read a cell."""
    seeds = ", ".join(map(str, comparison.seeds))
    read = f"mean ± std over seeds {seeds}" if len(comparison.seeds) > 1 else f"seed {seeds}"
    if not comparison.seeds:
        read = "no row on a reporting seed yet"
    return f"{comparison.sweep}: {comparison.problem}\n{read} (gap to {RETRAIN})"


def main_grid(comparison: Comparison, wrap: str = " ", bold: str = "") -> Grid:
    """Header and rows: the metrics of the average gap, the average gap, AGP and time."""
    unit, seconds = comparison.time_unit
    head = ["Method", *(comparison.headers[name] for name in comparison.counted)]
    grid = [[*head, "Avg. Gap (pp)", "AGP (%)", f"Time, RTE ({unit})"]]
    for line in comparison.lines:
        best = line.method == comparison.best
        cells = [f"{line.method}*" if best and not bold else line.method]
        cells += [_text(cell, 2, wrap) for cell in _cells(line, comparison.counted)]
        cells += [_text(line.average_gap, 2, wrap), _mean(line.average_gap_percentage)]
        cells.append(_mean(line.seconds, seconds))
        grid.append([f"{bold}{cell}{bold}" for cell in cells] if best else cells)
    return grid


def further_grid(comparison: Comparison, wrap: str = " ") -> Grid:
    """Header and rows of what does not count: metrics, and ToW; empty if there is nothing."""
    left_out = comparison.stored_only.union(comparison.counted)
    names = [name for name in comparison.headers if name not in left_out]
    tug_of_war = any(line.tug_of_war is not None for line in comparison.lines)
    if not names and not tug_of_war:
        return []
    head = ["Method", *(comparison.headers[name] for name in names)]
    grid = [[*head, _TUG_OF_WAR] if tug_of_war else head]
    for line in comparison.lines:
        cells = [*_cells(line, names), *([line.tug_of_war] if tug_of_war else [])]
        grid.append([line.method, *(_text(cell, 4, wrap) for cell in cells)])
    return grid


def frame_grid(frame: pd.DataFrame) -> Grid:
    """Header and rows of any frame; floats with six significant digits."""
    rows = [[_scalar(value) for value in row] for row in frame.itertuples(index=False)]
    return [list(map(str, frame.columns)), *rows]


def _paragraphs(comparison: Comparison) -> list[str]:
    winners = [
        f"{line.method} ({_winner(line)}): {hyperparameters(line.hyperparameters)}"
        for line in comparison.lines
        if line.hyperparameters is not None
    ]
    notes = [f"{line.method}: {line.note}" for line in comparison.lines if line.note]
    notes += comparison.notes
    parts = [("Hyperparameters of each study's best trial", winners), ("Notes", notes)]
    return ["\n".join([head, *lines]) for head, lines in parts if lines]


def _winner(line: Line) -> str:
    """Its trial, and the method of a study that does not bear the method's name."""
    method = "" if line.unlearning_method == line.method else f"{line.unlearning_method}, "
    return f"{method}trial {line.trial}"


def hyperparameters(values: Mapping[str, Any]) -> str:
    """`name=value, ...`, floats with four significant digits."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def _cells(line: Line, names: Sequence[str]) -> list[Cell | None]:
    return [(line.metrics or {}).get(name) for name in names]


def _text(cell: Cell | None, digits: int, wrap: str) -> str:
    if cell is None:
        return _NONE
    text = f"{cell.mean:.{digits}f}"
    if cell.std is not None:
        text += f" ± {cell.std:.{digits}f}"
    return text if cell.gap is None else f"{text}{wrap}({cell.gap:.{digits}f})"


def _mean(cell: Cell | None, unit: float = 1.0) -> str:
    return _NONE if cell is None else f"{cell.mean / unit:.2f}"


def _scalar(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return _NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)
