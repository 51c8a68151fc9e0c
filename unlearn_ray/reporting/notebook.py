"""The comparison of a sweep's studies in a notebook: a table that sorts, and its text."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from unlearn_ray.reporting.render import plain_text, title

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.reporting.table import Cell, Comparison

_DIGITS = 2


def notebook_html(comparison: Comparison) -> str:
    """HTML that needs no network: the text, below a table that sorts where itables is installed.

    Each output has the table's own program (1 MB): a notebook that is opened again finds it there,
    whichever of its cells were run last.
    """
    text = f"<pre>{html.escape(plain_text(comparison))}</pre>"
    try:
        from itables import options, to_html_datatable
        from itables.javascript import generate_init_offline_itables_html
    except ImportError:
        return text
    heading = "<br>".join(html.escape(line) for line in title(comparison).splitlines())
    shown = to_html_datatable(
        numbers(comparison),
        connected=False,
        allow_html=False,
        showIndex=False,
        paging=False,
        layout={"topStart": None, "topEnd": "search", "bottomStart": None, "bottomEnd": None},
        maxBytes=0,
    )
    program = generate_init_offline_itables_html(options.dt_bundle)
    details = f"<details><summary>As text, with its footnotes</summary>{text}</details>"
    return f"<p>{heading}</p>{program}{shown}{details}"


def numbers(comparison: Comparison) -> pd.DataFrame:
    """The main table in columns of numbers, rounded as it prints them: such columns sort."""
    import pandas as pd

    judged = comparison.evidence.judgements if comparison.evidence else {}
    unit, seconds = comparison.time_unit
    names = comparison.counted if comparison.compares else [*comparison.headers]
    lines = []
    for line in comparison.lines:
        row: dict[str, Any] = {"Method": line.study}
        for name in names:
            cell = (line.metrics or {}).get(name)
            row |= _columns(comparison.headers[name], cell, gap=comparison.compares)
        if comparison.compares:
            row["Avg. Gap (pp)"] = _rounded(line.average_gap_of_means)
            row["AGP (%)"] = _rounded(line.average_gap_percentage_of_means)
        row[f"RTE ({unit})"] = _rounded(line.seconds.mean / seconds if line.seconds else None)
        if judged:
            of_line = judged.get(line.study)
            row["Rank"] = of_line.rank if of_line else None
            row["Verdict"] = f"{of_line.verdict}" if of_line else ""
        lines.append(row)
    frame = pd.DataFrame(lines)
    return frame.astype({"Rank": "Int64"}) if judged else frame


def _columns(header: str, cell: Cell | None, *, gap: bool) -> dict[str, float]:
    of_gap = {f"{header} gap": _rounded(cell.gap_of_means if cell else None)} if gap else {}
    spread = _rounded(cell.std if cell else None)
    return {header: _rounded(cell.mean if cell else None), f"{header} ±": spread, **of_gap}


def _rounded(value: float | None) -> float:
    return math.nan if value is None else round(value, _DIGITS) + 0.0
