"""A budget ends the search, not the sweep: what there is is reported, and more hours go on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import SWEEP, Driver, objects, rows, table, weights, write_sweep
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

WANTED = len(SWEEP["methods"]) * SWEEP["search"]["trials"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def tuned(store: str) -> list[tuple[str, int]]:
    """Method and number of every trial."""
    return sorted((r["study"], r["trial"]) for r in rows(store) if r["purpose"] == "tuning")


def spent(file: Path, store: str) -> float:
    return make_plan(load_sweep(file), open_store(store)).spending.total


def test_a_budget_ends_the_search(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    file = write_sweep(tmp_path, budget={"hours": 1e-9})
    store = uninterrupted.trained_references(tmp_path / "store")
    with Driver(file, store) as driver:
        driver.ends(0)
    assert tuned(store) == []
    assert "the budget is spent: no further trial is launched" in driver.err
    assert "finetune: no trial was completed; nothing to report" in driver.err
    assert f"budget of 1e-09 h spent after 0 of {WANTED} trials" in driver.out
    references = spent(file, store)
    assert references > 0

    # Room for one trial of each study at a time; no trial is so short.
    hours = references + 1e-6
    budget = ("--set", f"budget.hours={hours!r}")
    with Driver(file, store, *budget, "--set", "search.concurrent=2") as driver:
        driver.ends(0)
    assert tuned(store) == [("finetune", 0), ("neggrad", 0)]
    assert re.search(rf"budget of [\d.]+ h spent after 2 of {WANTED} trials", driver.out)
    reported = [(r["study"], r["trial"]) for r in rows(store) if r["purpose"] == "reporting"]
    assert sorted(reported) == [("finetune", 0), ("neggrad", 0)]
    assert spent(file, store) > hours

    everything = objects(store, "")
    with Driver(file, store, *budget) as again:
        again.ends(0)
    assert "Nothing to train" in again.err
    assert again.out == driver.out
    assert objects(store, "") == everything

    with Driver(file, store, "--set", "budget.hours=1000") as driver:
        driver.ends(0)
    assert "budget" not in driver.out
    assert table(driver.out) == uninterrupted.table
    # What was the best of one trial stays beside what is the best of all.
    reports = [row for row in rows(store) if row not in uninterrupted.rows]
    assert {(row["purpose"], row["trial"]) for row in reports} <= {("reporting", 0)}
    assert [row for row in rows(store) if row not in reports] == uninterrupted.rows
    assert weights(uninterrupted.store).items() <= weights(store).items()
