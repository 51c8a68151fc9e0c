"""Figures as SVG files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.finished import evidence, observed_store
from unlearn_ray.cli.main import main
from unlearn_ray.core.errors import Exit
from unlearn_ray.report.contents import drawn
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.svg import svg_of, write_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script> & \"'</svg>"


def every_figure() -> list[Figure]:
    return [figure for _, figures in drawn(evidence()) for figure in figures]


def test_every_figure_is_a_file_with_marks(tmp_path: Path) -> None:
    figures = every_figure()
    written = write_svg(figures, tmp_path / "new" / "folder")
    assert [path.name for path in written] == [f"{each.name}.svg" for each in figures]
    assert len({path.name for path in written}) == len(written) >= 10
    for path in written:
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == f"{SVG}svg"
        shapes = [each for each in root.iter(f"{SVG}path") if each.get("d")]
        assert len(shapes) > 5, path.name
        assert any("aria-roledescription" in each.attrib for each in root.iter()), path.name
        assert "http" not in path.read_text().replace("http://www.w3.org", "")


def test_the_command_writes_figures_beside_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "figures"
    words = ["results", str(observed_store()), "report", "--output", str(page)]
    assert main([*words, "--svg", str(folder)]) == Exit.DONE
    names = {path.name for path in folder.iterdir()}
    assert {"attack-curves.svg", "block-cka.svg"} <= names
    assert f"{len(names)} figures written to {folder}" in "".join(capsys.readouterr())
    assert main([*words, "--svg", str(page)]) == Exit.BAD_INPUT
    assert f"--svg {page}" in capsys.readouterr().err


def test_foreign_text_is_text() -> None:
    import altair as alt

    (figure, *_) = every_figure()
    chart = (
        alt.Chart(alt.Data(values=[{"s": HOSTILE, "y": 1}]))
        .mark_bar()
        .encode(x=alt.X("s:N", axis=alt.Axis(labelLimit=0)), y="y:Q")
    )
    svg = svg_of(replace(figure, title=HOSTILE, chart=chart))
    root = ET.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in {"".join(each.itertext()) for each in root.iter(f"{SVG}text")}
