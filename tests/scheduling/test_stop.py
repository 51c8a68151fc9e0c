"""Ctrl-C and SIGTERM: a clean end within seconds, and the same command goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, objects, rows, table
from unlearn_ray.storage.store import open_store

STOP_SECONDS = 30

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def stops(driver: Driver, how: signal.Signals) -> None:
    if how == signal.SIGINT:  # as a terminal does: to the driver and the cluster it started
        os.killpg(driver.process.pid, how)
    else:
        os.kill(driver.process.pid, how)
    driver.ends(130, STOP_SECONDS)
    assert "run the same command to resume" in driver.err
    # Progress, and no word of how things end inside.
    for word in ("Error", "ERROR", "StopRequested"):
        assert word not in driver.err, driver.err
    assert driver.out == ""
    driver.leaves_nothing()


def test_stopped_in_a_pretraining_and_in_the_studies(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    store = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    beneath = open_store(store).objects
    key = uninterrupted.one_pretraining
    often = ("--set", "checkpoint_minutes=0.005")
    with Driver(uninterrupted.file, store, *often) as driver:
        driver.until(lambda: beneath.names(f"checkpoints/{key}/") != [], "a checkpoint")
        stops(driver, signal.SIGINT)
    assert f"records/pretrain/{key}.json" not in objects(store, "records/")
    assert beneath.names(f"checkpoints/{key}/") != [], "the checkpoint is gone"
    with Driver(uninterrupted.file, store) as driver:
        tuned = "the first trial"
        driver.until(lambda: any("tuning-" in name for name in beneath.names("rows/")), tuned)
        stops(driver, signal.SIGTERM)
    assert 0 < len(rows(store)) < len(uninterrupted.rows)
    then = objects(store, "records/")
    with Driver(uninterrupted.file, store) as driver:
        driver.ends(0)
        assert table(driver.out) == uninterrupted.table
    assert rows(store) == uninterrupted.rows
    now = objects(store, "records/")
    assert {name: now[name] for name in then} == then


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_ray_starts(
    how: signal.Signals, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    store = str(tmp_path / "store")
    with Driver(uninterrupted.file, store) as driver:
        # The driver and the first process of its cluster.
        driver.until(lambda: len(driver.processes()) > 1, "Ray's start")
        stops(driver, how)
    assert objects(store, "records/") == {}
