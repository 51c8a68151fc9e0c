"""Generates docs/metrics.md, the page of all metrics, from docstrings and fields.

python -m unlearn_ray.reporting.metrics_page > docs/metrics.md
"""

from __future__ import annotations

import sys

from unlearn_ray.config.sweep_file import default_metrics
from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.core.registry import parts
from unlearn_ray.metrics.base import Metric, Needs
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.reporting.grid import markdown_grid
from unlearn_ray.reporting.part_words import class_words, fields_grid

_HEAD = """\
# Metrics

What each metric of `unlearn_ray/metrics/` is and takes, from its own docstring; `make docs` writes
this page. A sweep names them under `metrics:`; one that names none measures {usual}.

*Reads* is what has to be observed, and of which other models: outputs are stored for every model,
so that a metric of outputs costs seconds when it is added to a finished sweep. *In the gap* are
metrics that count in the average gap.
"""


def metrics_page() -> str:
    """The page, as Markdown."""
    known = parts(Metric)
    usual = ", ".join(f"`{metric.name}`" for metric in default_metrics())
    grid = [["metric", "columns", "in the gap", "reads"]]
    for name, metric in known.items():
        columns = ", ".join(f"`{column}`" for column in metric.columns) or "arrays alone"
        counts = "yes" if metric.in_average_gap else "-"
        grid.append([f"[{name}](#{name})", columns, counts, _reads(metric)])
    blocks = [_HEAD.format(usual=usual).rstrip(), markdown_grid(grid)]
    for name, metric in known.items():
        blocks += [f"## {name}", *class_words(metric), *_columns(metric), *fields_grid(metric)]
    return "\n\n".join(blocks) + "\n"


def _columns(metric: type[Metric]) -> list[str]:
    """Its columns with the headers that tables print."""
    if not metric.columns:
        return []
    each = [f"`{column}` ({header})" for column, header in metric.columns.items()]
    notes = [f"undefined {what}" for what in _undefined(metric)]
    return [f"{'; '.join(['Columns: ' + ', '.join(each), *notes])}."]


def _undefined(metric: type[Metric]) -> list[str]:
    found = ["without classes"] if metric.needs_classes else []
    return [*found, "without captions"] if metric.needs_captions else found


def _reads(metric: type[Metric]) -> str:
    """The quantities that it needs at its defaults, and of which other models."""
    try:
        needs = metric().needs()
    except (TypeError, UnlearnRayError):  # a field has no default
        return ""
    names = {each.name: None for part in _parts(needs) for each in part}
    others = [
        words
        for words, given in (
            ("original", needs.original),
            ("retrained", needs.retrained),
            ("other seeds", needs.other_seeds),
        )
        if given
    ]
    return ", ".join(names) + (f"; also of: {', '.join(others)}" if others else "")


def _parts(needs: Needs) -> tuple[tuple[Quantity, ...], ...]:
    return needs.model, needs.original, needs.retrained, needs.other_seeds


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
