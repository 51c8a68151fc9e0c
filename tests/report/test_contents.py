"""Every figure is valid Vega-Lite: pages are made without asking Altair whether it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.stores import TEN, synthetic
from unlearn_ray.report.contents import drawn
from unlearn_ray.report.evidence import sweep_evidence
from unlearn_ray.storage.store import Store, open_store


@pytest.fixture
def searched(tmp_path: Path) -> Store:
    """A sweep of many trials, without observations."""
    store = open_store(str(tmp_path / "store"))
    synthetic(store, TEN[:3], trials=10, replicates=3)
    return store


@pytest.mark.parametrize("store", ["sevens", "searched"])
def test_figures_are_valid(store: str, request: pytest.FixtureRequest) -> None:
    evidence = sweep_evidence(request.getfixturevalue(store))
    figures = [figure for _, of_section in drawn(evidence) for figure in of_section]
    assert len(figures) > 5
    for figure in figures:
        figure.chart.to_dict(validate=True)
