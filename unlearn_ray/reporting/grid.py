"""Grids of text, a header and rows: aligned, as Markdown, and for terminals."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

Grid = list[list[str]]


def aligned(grid: Grid) -> str:
    """Columns padded to their widest cell, without trailing spaces."""
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in grid]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown_grid(grid: Grid) -> str:
    """A GitHub table."""
    head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in grid)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rich_grid(grid: Grid, bold: str | None = None) -> Table:
    """A table that fits the terminal; the row that starts with `bold` and a star is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(grid[0]):
        table.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in grid[1:]:
        table.add_row(*map(Text, row), style="bold" if bold and row[0] == f"{bold}*" else None)
    return table
