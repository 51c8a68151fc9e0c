"""Parts of one's own on Ray: their code reaches workers that cannot find their files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.own_project import distribution, write_part, write_parts, write_sweep
from tests.scheduling.nodes import OPEN, Nodes
from tests.scheduling.sweeps import Driver, rows
from unlearn_ray.storage.store import open_store

ROOT = Path(__file__).parents[2]


def assert_own_parts_were_used(store: str) -> None:
    """Every model was measured, in a process that imported the metric from memory."""
    found = rows(store)
    assert {row["study"] for row in found} == {"own_method", "original", "retrain"}
    assert {row["state"] for row in found} == {"complete"}
    tuned = [row for row in found if row["purpose"] == "tuning"]
    assert len(tuned) == 2
    for row in found:
        assert row["dataset"].startswith("own_images")
        assert row["model"].startswith("own_net")
        if row["purpose"] != "tuning":
            assert row["own_loader"] == 1.0
            assert 0 <= row["own_metric"] <= 100


def test_on_this_machine(tmp_path: Path) -> None:
    files = write_parts(tmp_path / "lab")
    file = write_sweep(tmp_path / "lab", *(f"./{path.name}" for path in files.values()))
    store = str(tmp_path / "store")
    with Driver(file, store) as driver:
        driver.ends(0)
    assert_own_parts_were_used(store)
    assert "own_metric" in driver.out or "Own metric" in driver.out


def test_what_nodes_lack_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    files = write_parts(folder)
    text = files["own_metric"].read_text()
    # Only the driver has the variable.
    needs = "import os\n\nif 'OWN_DRIVER' not in os.environ:\n    import not_on_this_node\n"
    files["own_metric"].write_text(text.replace("from typing", f"{needs}from typing", 1))
    file = write_sweep(folder, *(f"./{path.name}" for path in files.values()))
    with Nodes([1]) as nodes:
        address = ("--address", nodes.address)
        variables = {**OPEN, "OWN_DRIVER": "1"}
        with Driver(file, str(tmp_path / "store"), *address, environment=variables) as driver:
            driver.ends(2)
    assert "error: plug-in own_metric: cannot be imported: ModuleNotFoundError: No " in driver.err
    assert "'not_on_this_node'" in driver.err
    assert "on node " in driver.err
    assert open_store(str(tmp_path / "store")).objects.names("records/") == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_ways_on_nodes_without_the_files(tmp_path: Path) -> None:
    folder, site = tmp_path / "lab", tmp_path / "site"
    files = write_parts(folder)
    site.mkdir()
    for name in ("own_images", "own_net"):
        files[name].rename(site / files[name].name)
    distribution(site, "own-parts", "own_images", "own_net")
    given = write_part("metric", "own_given", tmp_path / "given")
    file = write_sweep(folder, "./own_method.py", "./own_metric.py", "./own_loader.py")
    text = file.read_text()
    file.write_text(text.replace("- own_loader\n", "- own_loader\n- own_given\n"))
    assert file.read_text() != text
    store = str(tmp_path / "store")
    with Nodes([0, 1, 1]) as nodes:
        path = os.pathsep.join([str(site), str(ROOT)])
        with Driver(
            file,
            store,
            *("--address", nodes.address, "--plugin", str(given)),
            environment={**OPEN, "PYTHONPATH": path},
        ) as driver:
            driver.until(
                lambda: open_store(store).objects.names("records/pretrain") != [], "a model"
            )
            for gone in (site, given.parent):
                shutil.rmtree(gone)
            for source in folder.glob("own_*.py"):
                source.unlink()
            driver.ends(0)
    assert_own_parts_were_used(store)
    assert all(row["own_given"] is not None for row in rows(store) if row["purpose"] != "tuning")
