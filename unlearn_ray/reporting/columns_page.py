"""Generates docs/columns.md, the columns of rows, from their declarations.

python -m unlearn_ray.reporting.columns_page > docs/columns.md
"""

from __future__ import annotations

import sys

from unlearn_ray.core.columns import COLUMNS
from unlearn_ray.reporting.grid import markdown_grid

_HEAD = """\
# Columns

Every trial and seed is one row, and so is every reference model and seed. This is what a row holds:
`unlearn_ray.results.load(STORE)` gives all of them as a pandas frame, and
`python -m unlearn_ray.results STORE query` knows them as the table `rows`. *Trials* are rows with
purpose `tuning` or `reporting`; in rows that do not fill a column it is null. `make docs` writes
this page.
"""


def columns_page() -> str:
    """The page, as Markdown."""
    grid = [["column", "type", "filled in", "meaning"]]
    grid += [[f"`{one.name}`", one.type, one.filled, one.meaning] for one in COLUMNS]
    return f"{_HEAD}\n{markdown_grid(grid)}\n"


if __name__ == "__main__":
    sys.stdout.write(columns_page())
