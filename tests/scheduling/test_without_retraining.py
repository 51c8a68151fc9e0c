"""Sweeps that retrain no model, on Ray: from nothing to the table, resumed, and by two drivers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.sweeps import Driver, attempts, table, write_sweep
from unlearn_ray.storage.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AIMS = {"test_accuracy": "original", "forget_accuracy": "test_accuracy"}
CHANGES: dict[str, Any] = {
    "retrained": "none",
    "family": "supervised",
    "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.06},
    "objective": {"measured": {"aims": AIMS, "weights": {"test_accuracy": 2}}},
}


def purposes(store: str) -> Counter[tuple[str, str]]:
    """Rows by study and purpose."""
    found = open_store(store).read_rows().to_pylist()
    assert all(row["state"] in ("complete", "stopped") for row in found)
    assert all(row.get("average_gap") is None for row in found)
    return Counter((row["study"], row["purpose"]) for row in found)


def status(store: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "unlearn_ray.sweep", "status", store, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (sweep,) = json.loads(done.stdout)["sweeps"]
    return dict(sweep)


def test_one_seed_and_no_search(tmp_path: Path) -> None:
    methods = {name: {"epochs": 1, "learning_rate": 0.01} for name in ("finetune", "neggrad")}
    seeds = {"tuning": [], "reporting": [0]}
    file = write_sweep(tmp_path, **{**CHANGES, "methods": methods, "seeds": seeds})
    store = str(tmp_path / "store")
    with Driver(file, store) as driver:
        out = driver.ends(0).out
    assert "seed 0; not compared with retraining" in out
    named = [line.split()[0] for line in table(out) if line.startswith(("orig", "fine", "negg"))]
    assert named[:3] == ["original", "finetune", "neggrad"]
    assert set(attempts(store).values()) == {1}
    assert Counter(name.split("/")[0] for name in attempts(store)) == {"pretrain": 1, "unlearn": 2}
    assert purposes(store) == {
        ("original", "reference"): 1,
        ("finetune", "reporting"): 1,
        ("neggrad", "reporting"): 1,
    }
    seen = status(store)
    assert [(one["complete"], one["reported"]) for one in seen["studies"]] == [(1, 1), (1, 1)]
    assert all(one["best"] is None for one in seen["studies"])
    assert "finished" in subprocess.run(
        [sys.executable, "-m", "unlearn_ray.sweep", "status", store],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    again = subprocess.run(
        [sys.executable, "-m", "unlearn_ray.sweep", str(file), "--store", store],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Nothing to train" in again.stderr
    assert table(again.stdout) == table(out)


def test_a_search_that_is_killed_and_shared(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, **CHANGES)
    store = str(tmp_path / "store")
    with Driver(file, store) as killed:
        killed.until(lambda: any("unlearn/" in name for name in attempts(store)), "a trial")
        killed.kill()
    with Driver(file, store) as one, Driver(file, store) as other:
        outs = [driver.ends(0).out for driver in (one, other)]
    assert table(outs[0]) == table(outs[1])
    assert "not compared with retraining" in outs[0]
    found = purposes(store)
    assert found["original", "reference"] == 1
    assert all(found[study, "reporting"] == 1 for study in ("finetune", "neggrad"))
    assert all(found[study, "tuning"] == 3 for study in ("finetune", "neggrad"))
    assert not [name for name in attempts(store) if name.startswith("retrain/")]
    # Seen by the objective alone: the original of the tuning seed is measured, too.
    tuning = [r for r in open_store(store).read_rows().to_pylist() if r["purpose"] == "tuning"]
    for row in tuning:
        far = abs(row["test_accuracy"] - row["test_accuracy_original"])
        near = abs(row["forget_accuracy"] - row["test_accuracy"])
        assert row["score"] == pytest.approx((2 * far + near) / 3)
    assert status(store)["studies"][0]["best"] == pytest.approx(
        min(row["score"] for row in tuning if row["study"] == "finetune")
    )
