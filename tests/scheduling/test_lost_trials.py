"""Lost workers: one that is lost again and again fails its trial alone; one is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, essence, objects, rows, table, write_sweep

FAULTS = Path(__file__).parents[1] / "faults"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_trial_that_kills_its_worker_is_tried_again_and_then_failed(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    file = write_sweep(tmp_path, resources={"trial": {"retries": 1}})
    store = uninterrupted.trained_references(tmp_path / "store")
    fault = {"PYTHONPATH": str(FAULTS), "DIE_UNLEARNING_BY": "neggrad"}
    with Driver(file, store, environment=fault) as driver:
        driver.ends(1)
    reason = "its worker was lost 2 times (last: Worker unexpectedly exits"
    for number in range(3):
        assert f"failed: neggrad trial {number}: {reason}" in driver.err
    assert "neggrad: no trial was completed; nothing to report" in driver.err

    found = rows(store)
    failed = [row for row in found if row["study"] == "neggrad"]
    assert [row["trial"] for row in failed] == [0, 1, 2]
    for row in failed:
        assert (row["state"], row["purpose"], row["average_gap"]) == ("failed", "tuning", None)
        assert str(row["failure"]).startswith(reason)
        assert "\n" not in str(row["failure"])
        assert "actor_id" not in str(row["failure"])
    others = [row for row in found if row["study"] != "neggrad"]
    expected = [row for row in uninterrupted.rows if row["study"] != "neggrad"]
    assert [essence(row) for row in others] == [essence(row) for row in expected]

    everything = objects(store, "rows/")
    with Driver(file, store) as again:
        again.ends(1)
    assert "Nothing to train" in again.err
    assert again.out == driver.out
    assert objects(store, "rows/") == everything


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("moment", ["DIE_RESET", "DIE_LAUNCHED"])
def test_a_worker_that_dies_while_it_takes_its_work_is_replaced(
    moment: str, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    # Ray Train and Tune know such a loss, but not in these moments.
    store = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    died = tmp_path / "died"
    fault = {"PYTHONPATH": str(FAULTS), moment: str(died)}
    with Driver(uninterrupted.file, store, environment=fault) as driver:
        driver.ends(0)
    assert died.exists()
    assert rows(store) == uninterrupted.rows
    assert table(driver.out) == uninterrupted.table
