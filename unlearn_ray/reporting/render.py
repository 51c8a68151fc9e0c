"""Comparisons and other frames as text: for terminals, plain, and Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.printable import printable
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.reporting.grid import Grid, aligned, blocks, markdown_grid, rich_grid
from unlearn_ray.reporting.scores import ScoreLine, score_headers
from unlearn_ray.reporting.table import Cell, Comparison, Line

WIDTH = 100

_NONE = "-"
_PER_RUN = "Per run (pp)"
_STATISTICS = (
    "(gap), Avg. Gap and AGP are of |difference of the means over runs|, as in MUC's tables. "
    "Per run: each run's own average gap, mean ± std over runs."
)
_EVIDENCE = (
    "Gap / floor: mean distance from the retrained models, each metric's over its noise floor (the "
    "mean distance of two retrained models); 1 for one more of them. Less the original's: with its "
    "95 % interval. p (retrain): permutation test of all metrics that the models are distributed "
    "as the retrained ones. Rank: 1 + the methods that are significantly nearer; = is a tie. "
    "Verdicts and ranks at the level of 5 %, by Holm over the methods."
)
_SCORES = (
    "With intervals of 95 %. Null: the value at these numbers of models and samples where there is "
    "nothing to find, and the range of 95 % of such values. Retain samples are members: compare "
    "them with retraining, not with the null."
)
_TUG_OF_WAR = "ToW (1 is best)"


def plain_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Aligned text, for logs and files: no line is longer than `width`, unless a word is."""

    def text(grid: Grid) -> str:
        return "\n\n".join(map(aligned, blocks(grid, width)))

    parts = [_wrapped(title(comparison), width), text(main_grid(comparison))]
    parts[-1] += "".join(f"\n{_wrapped(line, width)}" for line in footnotes(comparison))
    for heading, grid, lines in further_tables(comparison):
        shown = "".join(f"\n{_wrapped(line, width)}" for line in lines)
        parts.append(f"{heading}\n{text(grid)}{shown}")
    return "\n\n".join([*parts, *(_wrapped(part, width) for part in paragraphs(comparison))])


def markdown(comparison: Comparison) -> str:
    """GitHub tables; the starred rows are bold."""
    parts = [title(comparison), markdown_grid(main_grid(comparison, bold="**"))]
    parts += [line for line in footnotes(comparison) if not line.startswith("*")]
    for heading, grid, lines in further_tables(comparison):
        parts += [f"{heading}:", markdown_grid(grid), *lines]
    return "\n\n".join([*parts, *(part.replace("\n", "\n- ") for part in paragraphs(comparison))])


def rich_view(comparison: Comparison, width: int = WIDTH) -> RenderableType:
    """Tables for a terminal, gaps on a line of their own; the starred rows are bold."""
    parts: list[RenderableType] = [Text(title(comparison), style="bold")]
    grid = main_grid(comparison, wrap="\n")
    parts.append(rich_grid(grid, bold=comparison.starred, width=width))
    parts += [Text(line, style="dim") for line in footnotes(comparison)]
    for heading, grid, lines in further_tables(comparison, wrap="\n"):
        parts += [Text(f"\n{heading}"), rich_grid(grid, width=width)]
        parts += [Text(line, style="dim") for line in lines]
    parts += [Text(f"\n{part}") for part in paragraphs(comparison)]
    return Group(*parts)


def title(comparison: Comparison) -> str:
    """The title: the problem, and how to read a cell."""
    seeds = ", ".join(map(str, comparison.seeds))
    several = "seeds" if len(comparison.seeds) > 1 else "seed"
    read = f"mean ± std over {several} {seeds}" if comparison.runs > 1 else f"seed {seeds}"
    if comparison.evidence is not None:
        read += f"; {comparison.evidence.replicates} replicates each"
    if not comparison.seeds:
        read = "no row on a reporting seed yet"
    about = printable(f"{comparison.sweep}: {comparison.problem}")
    gap = f" (gap to {RETRAIN})" if comparison.compares else "; not compared with retraining"
    return f"{about}\n{read}{gap}"


def main_grid(comparison: Comparison, wrap: str = " ", bold: str = "") -> Grid:
    """Header and rows: the metrics of the average gap, the average gap, AGP and time.

    Without retrained models: all metrics, and time.
    """
    unit, seconds = comparison.time_unit
    several, compares = comparison.runs > 1 and comparison.compares, comparison.compares
    names = comparison.counted if compares else _printed(comparison)
    head = ["Method", *(comparison.headers[name] for name in names)]
    head += ["Avg. Gap (pp)", "AGP (%)"] if compares else []
    head += [*([_PER_RUN] if several else []), f"RTE ({unit})"]
    grid = [head]
    for line in comparison.lines:
        starred = line.study in comparison.starred
        cells = [f"{line.study}*" if starred and not bold else line.study]
        cells += [_text(cell, 2, wrap) for cell in _cells(line, names)]
        averages = (line.average_gap_of_means, line.average_gap_percentage_of_means)
        cells += [_number(average) for average in averages] if compares else []
        cells += [_text(line.mean_average_gap, 2, wrap)] if several else []
        cells.append(_number(None if line.seconds is None else line.seconds.mean / seconds))
        grid.append([f"{bold}{cell}{bold}" for cell in cells] if starred else cells)
    return grid


def footnotes(comparison: Comparison) -> list[str]:
    """How to read the main table."""
    lines = ["* no other method is nearer to retraining"] if comparison.starred else []
    if comparison.runs > 1 and comparison.compares:
        lines.append(_STATISTICS)
    return lines


def further_tables(comparison: Comparison, wrap: str = " ") -> list[tuple[str, Grid, list[str]]]:
    """The tables below the main one, each with its heading and footnotes; none is empty."""
    tables = [
        ("Evidence", evidence_grid(comparison), [_EVIDENCE, *_unjudged(comparison)]),
        ("Scores of many models", score_grid(comparison), [_SCORES, *_refused(comparison)]),
        ("Not in the average gap", further_grid(comparison, wrap), []),
    ]
    return [table for table in tables if table[1]]


def evidence_grid(comparison: Comparison) -> Grid:
    """Header and rows of what the replicates bear; empty without replicates."""
    evidence = comparison.evidence
    if evidence is None:
        return []
    head = ["Method", "Rank", "Gap / floor", "Less the original's", "p (retrain)", "Verdict"]
    grid = [head, [ORIGINAL, _NONE, _number(evidence.original), _NONE, _NONE, _NONE]]
    for name, judged in evidence.judgements.items():
        ties = sum(other.rank == judged.rank for other in evidence.judgements.values()) > 1
        nothing, p = judged.nothing, judged.joint.p_value
        grid.append([
            name,
            f"{judged.rank}{'=' if ties else ''}",
            _number(judged.gap),
            _NONE if math.isnan(nothing.difference)
            else f"{nothing.difference:+.2f} [{nothing.low:+.2f}, {nothing.high:+.2f}]",
            _NONE if math.isnan(p) else f"{p:.3f}",
            f"{judged.verdict}",
        ])  # fmt: skip
    return grid


def _unjudged(comparison: Comparison) -> list[str]:
    """Each reason for which there is no verdict once, with the studies that it is about."""
    judged = comparison.evidence.judgements if comparison.evidence else {}
    reasons: dict[str, list[str]] = {}
    for name, each in judged.items():
        if each.refused:
            reasons.setdefault(each.refused, []).append(name)
    return [f"No verdict on {', '.join(names)}: {why}" for why, names in reasons.items()]


def score_grid(comparison: Comparison) -> Grid:
    """Header and rows of the estimates that were not refused; empty without any.

    The first row is the null, the last one the number of models.
    """
    lines = [line for line in comparison.scores if not line.estimate.refused]
    by_column: dict[tuple[str, int], dict[str, ScoreLine]] = {}
    for line in lines:
        by_column.setdefault((line.column, line.seed), {})[line.study] = line
    if not lines:
        return []
    headers = score_headers({line.column for line in lines})
    seeds = {
        column: {seed for name, seed in by_column if name == column} for column, _ in by_column
    }
    head = [
        headers.get(column, column) + (f", seed {seed}" if len(seeds[column]) > 1 else "")
        for column, seed in by_column
    ]
    of_studies = [
        [study, *(_estimate(column.get(study)) for column in by_column.values())]
        for study in dict.fromkeys(line.study for line in lines)
    ]
    nulls = ["null", *(_null([*column.values()]) for column in by_column.values())]
    models = [
        str(max(line.estimate.models for line in column.values())) for column in by_column.values()
    ]
    return [["Method", *head], nulls, *of_studies, ["models", *models]]


def _estimate(line: ScoreLine | None) -> str:
    return (
        _NONE
        if line is None
        else f"{line.estimate.value:.2f} [{line.estimate.low:.2f}, {line.estimate.high:.2f}]"
    )


def _null(lines: Sequence[ScoreLine]) -> str:
    """The mean null of the methods, and the widest range."""
    mean = math.fsum(line.estimate.null for line in lines) / len(lines)
    low, high = (
        min(line.estimate.null_low for line in lines),
        max(line.estimate.null_high for line in lines),
    )
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _refused(comparison: Comparison) -> list[str]:
    """Each reason once, with the scores that it is about."""
    headers = score_headers({line.column for line in comparison.scores})
    reasons: dict[str, dict[str, None]] = {}
    for line in comparison.scores:
        if line.estimate.refused:
            reasons.setdefault(line.estimate.refused, {})[headers.get(line.column, line.column)] = (
                None
            )
    return [f"No {'; '.join(names)}: {reason}" for reason, names in reasons.items()]


def further_grid(comparison: Comparison, wrap: str = " ") -> Grid:
    """Header and rows of metrics outside the average gap, and ToW; empty if there are none."""
    if not comparison.compares:
        return []  # the main table has them all
    names = [name for name in _printed(comparison) if name not in comparison.counted]
    tug_of_war = any(line.tug_of_war is not None for line in comparison.lines)
    if not names and not tug_of_war:
        return []
    head = ["Method", *(comparison.headers[name] for name in names)]
    grid = [[*head, _TUG_OF_WAR] if tug_of_war else head]
    for line in comparison.lines:
        cells = [*_cells(line, names), *([line.tug_of_war] if tug_of_war else [])]
        grid.append([line.study, *(_text(cell, 4, wrap) for cell in cells)])
    return grid


def _printed(comparison: Comparison) -> list[str]:
    return [name for name in comparison.headers if name not in comparison.stored_only]


def frame_grid(frame: pd.DataFrame) -> Grid:
    """Header and rows of any frame; floats with six significant digits."""
    rows = [[_scalar(value) for value in row] for row in frame.itertuples(index=False)]
    return [list(map(str, frame.columns)), *rows]


def paragraphs(comparison: Comparison) -> list[str]:
    """Each with a heading and its lines: the winners' hyperparameters, and notes."""
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
    method = "" if line.method == line.own_name else f"{line.method}, "
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
    text = _fixed(cell.mean, digits)
    if cell.std is not None:
        text += f" ± {cell.std:.{digits}f}"
    gap = cell.gap_of_means
    return text if gap is None else f"{text}{wrap}({gap:.{digits}f})"


def _number(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else _fixed(value, 2)


def _fixed(value: float, digits: int) -> str:
    """A number with fixed digits; what rounds to 0 has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


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
