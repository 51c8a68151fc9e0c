"""Comparisons and other frames as text: for terminals, plain, and Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from unlearn_ray.config.sweep_schema import RETRAIN
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.printable import printable
from unlearn_ray.reporting.grid import Grid, aligned, blocks, markdown_grid, rich_grid
from unlearn_ray.reporting.table import Cell, Comparison, Line

WIDTH = 100

_NONE = "-"
_PER_SEED = "Per seed (pp)"
_STATISTICS = (
    "(gap), Avg. Gap and AGP are of |difference of the means over seeds|, as in MUC's tables. "
    "Per seed: each seed's own average gap, mean ± std over seeds, which the search minimises."
)
_TUG_OF_WAR = "ToW (1 is best)"


def plain_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Aligned text, for logs and files: no line is longer than `width`, unless a word is."""
    main = "\n\n".join(map(aligned, blocks(main_grid(comparison), width)))
    parts = [_wrapped(title(comparison), width), main]
    parts[-1] += "".join(f"\n{_wrapped(line, width)}" for line in _footnotes(comparison))
    further = further_grid(comparison)
    if further:
        shown = "\n\n".join(map(aligned, blocks(further, width)))
        parts.append(f"Not in the average gap\n{shown}")
    return "\n\n".join([*parts, *(_wrapped(part, width) for part in _paragraphs(comparison))])


def markdown(comparison: Comparison) -> str:
    """GitHub tables; the row with the smallest average gap is bold."""
    parts = [title(comparison), markdown_grid(main_grid(comparison, bold="**"))]
    parts += [line for line in _footnotes(comparison) if not line.startswith("*")]
    further = further_grid(comparison)
    if further:
        parts += ["Not in the average gap:", markdown_grid(further)]
    return "\n\n".join([*parts, *(part.replace("\n", "\n- ") for part in _paragraphs(comparison))])


def rich_view(comparison: Comparison, width: int = WIDTH) -> RenderableType:
    """Tables for a terminal, gaps on a line of their own; the best row is bold."""
    parts: list[RenderableType] = [Text(title(comparison), style="bold")]
    grid = main_grid(comparison, wrap="\n")
    parts.append(rich_grid(grid, bold=comparison.best, width=width))
    parts += [Text(line, style="dim") for line in _footnotes(comparison)]
    further = further_grid(comparison, wrap="\n")
    if further:
        parts += [Text("\nNot in the average gap"), rich_grid(further, width=width)]
    parts += [Text(f"\n{part}") for part in _paragraphs(comparison)]
    return Group(*parts)


def title(comparison: Comparison) -> str:
    """The title: the problem, and how to read a cell."""
    seeds = ", ".join(map(str, comparison.seeds))
    read = f"mean ± std over seeds {seeds}" if len(comparison.seeds) > 1 else f"seed {seeds}"
    if not comparison.seeds:
        read = "no row on a reporting seed yet"
    about = printable(f"{comparison.sweep}: {comparison.problem}")
    return f"{about}\n{read} (gap to {RETRAIN})"


def main_grid(comparison: Comparison, wrap: str = " ", bold: str = "") -> Grid:
    """Header and rows: the metrics of the average gap, the average gap, AGP and time."""
    unit, seconds = comparison.time_unit
    several = len(comparison.seeds) > 1
    head = ["Method", *(comparison.headers[name] for name in comparison.counted)]
    head += ["Avg. Gap (pp)", "AGP (%)", *([_PER_SEED] if several else []), f"RTE ({unit})"]
    grid = [head]
    for line in comparison.lines:
        best = line.study == comparison.best
        cells = [f"{line.study}*" if best and not bold else line.study]
        cells += [_text(cell, 2, wrap) for cell in _cells(line, comparison.counted)]
        cells += [_number(line.average_gap_of_means), _number(line.average_gap_percentage_of_means)]
        cells += [_text(line.mean_average_gap, 2, wrap)] if several else []
        cells.append(_number(None if line.seconds is None else line.seconds.mean / seconds))
        grid.append([f"{bold}{cell}{bold}" for cell in cells] if best else cells)
    return grid


def _footnotes(comparison: Comparison) -> list[str]:
    lines = ["* smallest average gap"] if comparison.best else []
    if len(comparison.seeds) > 1:
        lines.append(_STATISTICS)
    return lines


def further_grid(comparison: Comparison, wrap: str = " ") -> Grid:
    """Header and rows of metrics outside the average gap, and ToW; empty if there are none."""
    left_out = comparison.stored_only.union(comparison.counted)
    names = [name for name in comparison.headers if name not in left_out]
    tug_of_war = any(line.tug_of_war is not None for line in comparison.lines)
    if not names and not tug_of_war:
        return []
    head = ["Method", *(comparison.headers[name] for name in names)]
    grid = [[*head, _TUG_OF_WAR] if tug_of_war else head]
    for line in comparison.lines:
        cells = [*_cells(line, names), *([line.tug_of_war] if tug_of_war else [])]
        grid.append([line.study, *(_text(cell, 4, wrap) for cell in cells)])
    return grid


def frame_grid(frame: pd.DataFrame) -> Grid:
    """Header and rows of any frame; floats with six significant digits."""
    rows = [[_scalar(value) for value in row] for row in frame.itertuples(index=False)]
    return [list(map(str, frame.columns)), *rows]


def _paragraphs(comparison: Comparison) -> list[str]:
    winners = [
        f"{line.study} ({_winner(line)}): {hyperparameters(line.hyperparameters)}"
        for line in comparison.lines
        if line.hyperparameters is not None
    ]
    notes = [f"{line.study}: {line.note}" for line in comparison.lines if line.note]
    notes += comparison.notes
    parts = [("Hyperparameters of each study's best trial", winners), ("Notes", notes)]
    return ["\n".join([head, *map(printable, lines)]) for head, lines in parts if lines]


def _winner(line: Line) -> str:
    """The winning trial, and the method of a study with a name of its own."""
    method = "" if line.method == line.study else f"{line.method}, "
    return f"{method}trial {line.trial}"


def hyperparameters(values: Mapping[str, Any]) -> str:
    """`name=value, ...` with the names of a sweep file; floats with four significant digits."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={in_yaml(value)}"
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
    gap = cell.gap_of_means
    return text if gap is None else f"{text}{wrap}({gap:.{digits}f})"


def _number(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.2f}"


def _wrapped(text: str, width: int) -> str:
    """Each line wrapped between words, with a hanging indent."""
    return "\n".join(
        textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.split("\n")
    )


def _scalar(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return _NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)
