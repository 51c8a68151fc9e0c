"""The report as one HTML file: no request to any network, and no code but its own.

All text of a store is foreign. Templates escape it, charts hold it as data, and control characters
and marks of direction are shown instead of obeyed. A Content-Security-Policy names the hashes of
the page's scripts, so that no other one runs even if something were missed; it forbids evaluation
of text, too, which is why charts are drawn by Vega's interpreter of expressions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unlearn_ray.core.errors import without_secrets
from unlearn_ray.core.printable import printable, printable_lines
from unlearn_ray.core.release import release
from unlearn_ray.report.contents import Section, drawn
from unlearn_ray.report.evidence import SweepEvidence
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.tables import (
    ShownTable,
    comparison_tables,
    failure_table,
    key_tables,
    machine_table,
    stopped_table,
    study_table,
)
from unlearn_ray.report.theme import CONFIG
from unlearn_ray.report.vega import bundle
from unlearn_ray.report.verdict import verdict_in_words
from unlearn_ray.reporting.render import paragraphs
from unlearn_ray.reporting.status_view import state

_COMPOSED = ("concat", "hconcat", "vconcat", "facet", "repeat")


@dataclass(frozen=True)
class Live:
    """How a page follows a sweep that runs.

    Attributes:
        etag: of this page; the server names another once there is more to show.
        seconds: between two questions.
    """

    etag: str
    seconds: float


@dataclass(frozen=True)
class _Placed:
    """A figure in the page; one that consists of several charts has a row to itself."""

    name: str
    title: str
    caption: str
    spec: Markup
    wide: bool


def page(
    evidence: SweepEvidence, live: Live | None = None, audit: Sequence[ShownTable] = ()
) -> str:
    """The report of a sweep.

    Args:
        evidence: what the store holds of it.
        live: how it follows the sweep; None for a file.
        audit: tables of the audit of a request.

    Raises:
        ModuleNotFoundError: the extra `report` is not installed.
    """
    comparison = evidence.comparison
    sections = [
        (section, [_placed(figure) for figure in figures]) for section, figures in drawn(evidence)
    ]
    scripts = [bundle(), own_file("page.js"), *([own_file("live.js")] if live else [])]
    style = own_file("page.css")
    trials, stopped = _trials(evidence), stopped_table(evidence)
    context: dict[str, Any] = {
        "sweep": evidence.sweep,
        "problem": comparison.problem if comparison else "",
        "state": _state(evidence),
        "live": live,
        "verdict": verdict_in_words(comparison),
        "tables": comparison_tables(comparison) if comparison else [],
        "paragraphs": _paragraphs(evidence),
        "sections": sections,
        "trials": trials,
        "stopped": stopped,
        "nothing_failed": failure_table(evidence) is None,
        "kept": evidence.kept,
        "machines": machine_table(evidence),
        "keys": key_tables(evidence),
        "audit": audit,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": release(),
        "store": without_secrets(evidence.store.url),
        "contents": _contents(sections, bool(comparison), bool(trials or stopped), bool(audit)),
        "config": _json(CONFIG),
        "style": Markup(style),  # noqa: S704 - our own file
        "scripts": list(map(Markup, scripts)),
        "policy": policy(style, scripts, live=live is not None),
    }
    return environment().get_template("page.html").render(context)


def environment() -> Environment:
    """Templates whose values are escaped, and made printable."""
    return Environment(
        loader=PackageLoader("unlearn_ray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )


def policy(style: str, scripts: list[str], *, live: bool) -> str:
    """The Content-Security-Policy of a page with this style and these scripts."""
    allowed = {
        "default-src": "'none'",
        "script-src": " ".join(map(_hash, scripts)) or "'none'",
        "style-src": _hash(style),
        "img-src": "data:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def chart_spec(figure: Figure) -> dict[str, Any]:
    """A figure's Vega-Lite specification, its strings printable and its numbers finite.

    Unvalidated: Altair checks each part against all alternatives of Vega-Lite's schema, which took
    a third of a page's time; tests validate every figure.
    """
    spec: dict[str, Any] = _safe(figure.chart.to_dict(validate=False))
    # Altair's own defaults, which would win over the page's.
    spec.pop("config", None)
    return {**spec, "description": printable(f"{figure.title}. {figure.caption}")}


def _placed(figure: Figure) -> _Placed:
    spec = chart_spec(figure)
    wide = any(name in spec for name in _COMPOSED)
    return _Placed(figure.name, figure.title, figure.caption, _json(spec), wide)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return _printable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _safe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(each) for each in value]
    return value


# A chart repeats a few words in each of thousands of points.
_printable_text = lru_cache(4096)(printable_lines)


def _json(value: Any) -> Markup:
    """JSON that can end neither the script that it stands in nor a line of it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - it has no markup left


def _printable(value: Any) -> Any:
    return printable_lines(value) if type(value) is str else value


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def own_file(name: str) -> str:
    """The text of a template, style or script of this package."""
    return files("unlearn_ray.report").joinpath("templates", name).read_text(encoding="utf-8")


def _state(evidence: SweepEvidence) -> str:
    status = evidence.status
    if status is None:
        return "Nothing tells whether it still runs: the store has no manifest of this sweep."
    spent = f"{sum(status.hours.values()):.3g} accelerator hours"
    return f"Last started {status.started}; {state(status)}. {spent} spent."


def _trials(evidence: SweepEvidence) -> list[ShownTable]:
    found = (study_table(evidence), failure_table(evidence))
    return [table for table in found if table is not None]


def _paragraphs(evidence: SweepEvidence) -> list[tuple[str, list[str]]]:
    """Winners' hyperparameters and notes, each with its heading."""
    if evidence.comparison is None:
        return []
    parts = (part.split("\n") for part in paragraphs(evidence.comparison))
    return [(heading, lines) for heading, *lines in parts]


def _contents(
    sections: list[tuple[Section, list[_Placed]]], compared: bool, trials: bool, audited: bool
) -> list[tuple[str, str]]:
    """Anchors and names of everything on the page."""
    return [
        ("verdict", "Verdict"),
        *([("table", "Table")] if compared else []),
        *((section.anchor, section.title) for section, _ in sections),
        *([("audit", "Audit of a request")] if audited else []),
        *([("trials", "Failed and stopped trials")] if trials else []),
        ("file", "Sweep file"),
        ("provenance", "Versions, machines, keys"),
    ]
