"""Results of a store whose rows were made with a plug-in that may not be here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.own_project import write_part
from tests.results.rows import small_sweep
from unlearn_ray.core import plugins
from unlearn_ray.core.errors import Exit
from unlearn_ray.monitor.manifest import Manifest
from unlearn_ray.results import main
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import open_store

MANIFEST = Manifest(
    name="small", started="2026-01-01T00:00:00+00:00", driver=ProcessIdentity.here(),
    references=(), studies=(), tuning=(0, 1), runs=2, reference_scores=0, study_scores=0,
    budget_hours=None, plugins=("/home/lab/own_metric.py",),
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.fixture
def store(tmp_path: Path) -> str:
    opened = open_store(str(tmp_path / "store"))
    own = {"own_metric": 40.0, "own_metric_retrained": 30.0, "own_metric_gap": 10.0}
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"row{number:03}", {**row, **own})
    opened.write_sweep("small", json.dumps(asdict(MANIFEST)).encode())
    return str(tmp_path / "store")


def test_what_is_not_known_is_told(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([store, "compare"]) == Exit.DONE
    said = capsys.readouterr()
    words = " ".join(said.out.split())
    assert "are not known here (their plug-ins are not loaded), in no average: own_metric" in words
    assert said.err == (
        "small was run with the plug-ins /home/lab/own_metric.py; name them with --plugin\n"
    )
    for command in (["best"], ["query", "SELECT avg(own_metric_gap) FROM rows"]):
        assert main([store, *command]) == Exit.DONE
        assert capsys.readouterr().err == ""

    own = str(write_part("metric", "own_metric", tmp_path))
    capsys.readouterr()
    for line in (["--plugin", own, store, "compare"], [store, "compare", "--plugin", own]):
        assert main(line) == Exit.DONE
        said = capsys.readouterr()
        assert "Own metric" in said.out
        assert "not loaded" not in said.out
        assert said.err == ""
        plugins.give([])


def test_a_plugin_that_cannot_be_loaded(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([store, "compare", "--plugin", "none.py"]) == Exit.BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: plug-in ")
    assert "there is no file" in said.err
