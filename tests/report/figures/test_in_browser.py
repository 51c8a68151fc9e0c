"""Figures of observations in a real browser."""

from __future__ import annotations

from pathlib import Path

from tests.report.conftest import Opened
from tests.report.finished import evidence
from unlearn_ray.report.page import page

NAMES = (
    *("attack-curves", "confidence-histograms", "sample-distances-floor"),
    *("sample-distances-before", "alignment-matrices", "block-cka"),
    *("class-predictions-forget", "class-predictions-test"),
)


def test_every_figure_has_marks_and_names_its_models(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(evidence()), encoding="utf-8")
    with opened(file) as seen:
        for name in NAMES:
            chart = seen.page.locator(f"#{name} .chart[data-state=drawn]")
            assert chart.locator("svg.marks path[d]:not([d=''])").count() > 20, name
            shown = chart.inner_text()
            assert "finetune" in shown, name
            assert "away" in shown, name
        legend = seen.page.locator("#confidence-histograms .chart").inner_text()
        assert all(word in legend for word in ("original", "retrained", "unlearned"))
    assert (seen.requests, seen.errors) == ([file.as_uri()], [])
