"""A bank on a real cluster: killed half-way and resumed, and shared by a second sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.sweeps import Driver, objects, rows, write_sweep
from unlearn_ray.storage.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MODELS = 12
BANK: dict[str, Any] = {
    "family": "supervised",
    "training": {"epochs": 3, "batch_size": 64},
    "metrics": ["retain_accuracy", "test_accuracy"],
    "methods": {"finetune": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}},
    "scores": ["u_lira", "lira"],
    "bank": {"models": MODELS, "samples": 100},
}


def scores(store: str) -> list[dict[str, Any]]:
    """The score rows."""
    found = [row for row in rows(store) if row["purpose"] == "score"]
    return sorted(found, key=lambda row: str(row["study"]))


def test_killed_half_way_it_ends_with_the_same_scores(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, **BANK)
    whole, halted = (str(tmp_path / name) for name in ("whole", "halted"))
    with Driver(file, whole) as driver:
        driver.ends(0)
    expected = scores(whole)
    assert [row["study"] for row in expected] == ["finetune", "original", "retrain"]
    assert all(0 <= row["u_lira_forget_auc"] <= 100 for row in expected)

    def trained() -> int:
        return len(open_store(halted).objects.names("records/pretrain/"))

    with Driver(file, halted) as driver:
        driver.until(lambda: trained() >= MODELS // 2, "half of the models")
        driver.kill()
        then = objects(halted, "records/")
        assert scores(halted) != expected
        with Driver(file, halted) as again:
            again.ends(0)
    now = objects(halted, "records/")
    assert {name: now[name] for name in then} == then
    assert scores(halted) == expected


def test_a_second_sweep_adds_its_unlearning_alone(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with Driver(write_sweep(tmp_path, **BANK), store) as driver:
        driver.ends(0)
    trained = objects(store, "records/pretrain/") | objects(store, "records/retrain/")
    other = tmp_path / "other"
    other.mkdir()
    method = {"neggrad": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}}
    changes = BANK | {"name": "second", "methods": method}
    with Driver(write_sweep(other, **changes), store) as driver:
        driver.ends(0)
    assert objects(store, "records/pretrain/") | objects(store, "records/retrain/") == trained
    assert {row["study"] for row in scores(store)} == {"finetune", "neggrad", "original", "retrain"}
