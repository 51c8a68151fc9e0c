"""A finished sweep trains nothing; equal sweeps in different stores have equal rows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, objects, rows, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_finished_sweep_trains_nothing(uninterrupted: Uninterrupted) -> None:
    everything = objects(uninterrupted.store, "")
    started = time.monotonic()
    with Driver(uninterrupted.file, uninterrupted.store) as driver:
        processes: set[int] = set()
        while driver.process.poll() is None:
            processes.update(driver.processes())
            time.sleep(0.1)
        driver.ends(0)
    assert time.monotonic() - started < 20
    assert processes == {driver.process.pid}, "it started other processes"
    assert "Nothing to train: all" in driver.err
    assert table(driver.out) == uninterrupted.table
    assert objects(uninterrupted.store, "") == everything


def test_two_runs_of_one_file_give_equal_rows(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    store = str(tmp_path / "store")
    with Driver(uninterrupted.file, store) as driver:
        driver.ends(0)
    assert rows(store) == uninterrupted.rows
    assert table(driver.out) == uninterrupted.table
