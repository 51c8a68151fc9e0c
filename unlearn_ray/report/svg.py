"""Figures as SVG files, for papers; no browser, no network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unlearn_ray.report.figure import Figure
from unlearn_ray.report.page import chart_spec
from unlearn_ray.report.theme import CONFIG

_ON_PAPER = {**CONFIG, "background": "white", "font": "sans-serif"}


def svg_of(figure: Figure) -> str:
    """A figure as SVG, black on white."""
    import vl_convert

    specification = {"config": _ON_PAPER, **chart_spec(figure)}
    return str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))


def write_svg(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """Write each figure to `NAME.svg` in a folder, which is made if there is none.

    Returns:
        The files, in the order of the figures.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
        path = folder / f"{figure.name}.svg"
        path.write_text(svg_of(figure), encoding="utf-8")
        written.append(path)
    return written
