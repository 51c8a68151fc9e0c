"""Grids of text (a header and rows): aligned, as Markdown, and for terminals.

Cells may contain text from a store: control characters never reach a terminal.
"""

from __future__ import annotations

from collections.abc import Collection

from rich import box
from rich.cells import cell_len
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from unlearn_ray.core.printable import printable, printable_lines

Grid = list[list[str]]


def aligned(grid: Grid) -> str:
    """Columns padded to their widest cell, without trailing spaces."""
    grid = [list(map(printable, row)) for row in grid]
    widths = [max(cell_len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "  ".join(cell + " " * (w - cell_len(cell)) for cell, w in zip(row, widths, strict=True))
        for row in grid
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown_grid(grid: Grid) -> str:
    """A GitHub table."""
    head, *rows = ([printable(cell).replace("|", "\\|") for cell in row] for row in grid)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def blocks(grid: Grid, width: int, between: int = 2) -> list[Grid]:
    """The same columns in as few grids as fit a width, each beginning with the first column.

    No cell is broken: a column that does not fit next to the first is in a grid of these two.

    Args:
        grid: header and rows; a cell may have several lines.
        width: of a line, in characters.
        between: characters between columns.
    """
    widths = [max(cell_width(row[column]) for row in grid) for column in range(len(grid[0]))]
    parts: list[list[int]] = []
    used = 0
    for column in range(1, len(widths)):
        needed = between + widths[column]
        if not parts or used + needed > width:
            parts.append([])
            used = widths[0]
        parts[-1].append(column)
        used += needed
    return [[[row[0], *(row[column] for column in part)] for row in grid] for part in parts or [[]]]


def cell_width(cell: str) -> int:
    """The display width of a cell's longest line."""
    return max(map(cell_len, cell.split("\n")))


def rich_grid(grid: Grid, bold: Collection[str] = (), width: int = 100) -> RenderableType:
    """Tables that fit a width; rows that start with one of `bold` and a star are bold.

    No name or number is broken: columns that do not fit go into a table of their own, below. Only
    a cell wider than the terminal is folded.
    """
    grid = [list(map(printable_lines, row)) for row in grid]
    # An edge of one character on each side; between columns, a divider with padding around it.
    return Group(*(_rich_table(part, bold) for part in blocks(grid, width - 2, between=3)))


def _rich_table(grid: Grid, bold: Collection[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(grid[0]):
        # The columns fit, unless there is only one next to the first.
        fits = len(grid[0]) > 2 or i == 0
        justify: JustifyMethod = "left" if i == 0 else "right"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=fits)
    for row in grid[1:]:
        style = "bold" if row[0] in {f"{name}*" for name in bold} else None
        table.add_row(*map(Text, row), style=style)
    return table
