"""Comparisons and other frames as LaTeX tables, for papers: they need the package `booktabs`.

Marks are those of the evidence: without several retrained models of each split nothing is ranked,
and nothing is marked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from unlearn_ray.core.printable import printable
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.core.words import counted
from unlearn_ray.reporting.evidence import LEVEL
from unlearn_ray.reporting.grid import Grid
from unlearn_ray.reporting.render import (
    evidence_grid,
    frame_grid,
    further_grid,
    main_grid,
    score_grid,
)

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.reporting.table import Comparison
    from unlearn_ray.reporting.two_sweeps import TwoSweeps

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # At the start of a row `\\` would take them for its own.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
_MEAN = re.compile(r"([+-]?\d[\d.]*) ± (\d[\d.]*)")
_NUMBER = re.compile(r"(?<![\w.-])([+-]?\d+(?:\.\d+)?)(?:e([+-]\d+))?(?![\w.-])")
_AVERAGE_GAP = "Avg. Gap (pp)"
# Each beside a table's own: they say what it is of.
_LABELS = ("", "-evidence", "-scores", "-further")


def escaped(text: str) -> str:
    """Text in one line that LaTeX prints as it is."""
    return "".join(_ESCAPED.get(letter, letter) for letter in printable(text))


def latex(comparison: Comparison) -> str:
    """The tables of a comparison, each a float with caption and label."""
    grids = (
        main_grid(comparison),
        evidence_grid(comparison),
        score_grid(comparison),
        further_grid(comparison),
    )
    # Names as such: those in the grid have a star.
    grids[0][1:] = [
        [line.study, *row[1:]] for line, row in zip(comparison.lines, grids[0][1:], strict=True)
    ]
    best, second = _best(comparison), _second(comparison)
    marks = {**dict.fromkeys(best, r"\textbf"), **dict.fromkeys(second, r"\underline")}
    captions = (
        _caption(comparison),
        f"Evidence for {_of(comparison)}: distances from the retrained models over the noise floor,"
        f" with intervals of {1 - LEVEL:.0%}; ranks and verdicts at the level of {LEVEL:.0%}, by "
        f"Holm over the methods.",
        f"Scores of many models, with intervals of {1 - LEVEL:.0%}, of {_of(comparison)}.",
        f"Metrics outside the average gap, of {_of(comparison)}.",
    )
    tables = [
        _float(grid, caption, f"tab:{comparison.sweep}{label}", marks)
        for grid, caption, label in zip(grids, captions, _LABELS, strict=True)
        if grid
    ]
    return "\n".join(tables)


def latex_of_two(compared: TwoSweeps) -> str:
    """The table of what differs between two sweeps."""
    first, second = compared.names
    lines = " ".join(compared.below())
    caption = f"{second} less {first}. {lines}"
    return _float(compared.grid(), caption, f"tab:{first}-{second}")


def latex_frame(frame: pd.DataFrame) -> str:
    """Any frame, without a float around it; numbers with six significant digits."""
    return tabular(frame_grid(frame))


def tabular(
    grid: Grid,
    marks: Mapping[str, str] = MappingProxyType({}),
    apart: Collection[str] = (),
) -> str:
    """A grid as a tabular with booktabs' rules.

    Args:
        grid: header and rows.
        marks: commands around the first cell and the average gap of rows, by their first cell.
        apart: first cells of the rows at the top that a rule divides from the others.
    """
    head, *rows = grid
    marked = {0, *(place for place, name in enumerate(head) if name == _AVERAGE_GAP)}
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"  \toprule"]
    lines += [_row(head), r"  \midrule"]
    for number, row in enumerate(rows):
        command = marks.get(row[0])
        if number and row[0] not in apart and rows[number - 1][0] in apart:
            lines.append(r"  \midrule")
        cells = [_cell(cell) for cell in row]
        if command is not None:
            cells = [
                f"{command}{{{_bold_math(cell, command)}}}" if place in marked else cell
                for place, cell in enumerate(cells)
            ]
        lines.append(f"  {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"  \bottomrule", r"\end{tabular}", ""])


def _float(
    grid: Grid, caption: str, label: str, marks: Mapping[str, str] = MappingProxyType({})
) -> str:
    body = tabular(grid, marks, apart=(RETRAIN, ORIGINAL))
    inner = "\n".join(f"  {line}".rstrip() for line in body.splitlines())
    return "\n".join(
        [
            r"\begin{table}  % needs \usepackage{booktabs}",
            r"  \centering",
            f"  \\caption{{{_in_math(escaped(caption))}}}",
            f"  \\label{{{label}}}",
            inner,
            r"\end{table}",
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"  {' & '.join(map(escaped, cells))} \\\\"


def _cell(text: str) -> str:
    """A cell: its numbers in math mode, other text escaped."""
    return _numbers(_in_math(escaped(text)))


def _in_math(text: str) -> str:
    """Escaped text with each mean and spread in math mode."""
    return _MEAN.sub(r"$\1 \\pm \2$", text).replace("±", r"$\pm$")


def _numbers(text: str) -> str:
    """Text with each number in math mode, unless it is in there already."""
    parts = re.split(r"(\$[^$]*\$)", text)
    return "".join(part if part.startswith("$") else _NUMBER.sub(_number, part) for part in parts)


def _number(found: re.Match[str]) -> str:
    power = "" if found[2] is None else rf" \cdot 10^{{{int(found[2])}}}"
    return f"${found[1]}{power}$"


def _bold_math(cell: str, command: str) -> str:
    r"""A number that `\textbf` makes bold, which leaves math as it is."""
    if command != r"\textbf":
        return cell
    return re.sub(r"\$([^$]*)\$", r"$\\mathbf{\1}$", cell)


def _best(comparison: Comparison) -> list[str]:
    return sorted(comparison.starred)


def _second(comparison: Comparison) -> list[str]:
    """The methods of the next rank, ties included; none where none is the best."""
    if comparison.evidence is None or not comparison.starred:
        return []
    ranks = {name: judged.rank for name, judged in comparison.evidence.judgements.items()}
    after = min((rank for rank in ranks.values() if rank > 1), default=None)
    return [name for name, rank in ranks.items() if rank == after]


def _of(comparison: Comparison) -> str:
    return f"{comparison.sweep} ({comparison.problem})"


def _caption(comparison: Comparison) -> str:
    seeds = counted(len(comparison.seeds), "seed")
    read = f"Mean ± standard deviation over {counted(comparison.runs, 'run')} of {seeds}"
    if comparison.evidence is not None:
        read += f", {comparison.evidence.replicates} replicates each"
    if not comparison.compares:
        return f"{_of(comparison)}. {read}; not compared with retraining."
    read += "; in brackets the gap of the means to retraining."
    if comparison.evidence is None:
        marks = "Nothing is marked: there is one retrained model of each split."
    elif not comparison.starred:
        marks = (
            f"No method is marked: none is better than doing nothing at the level of {LEVEL:.0%}."
        )
    else:
        marks = (
            f"Bold: no other method is nearer to retraining at the level of {LEVEL:.0%} (Holm over "
            f"{counted(len(comparison.evidence.judgements), 'method')}); underlined: the next rank."
        )
    return f"{_of(comparison)}. {read} {marks}"
