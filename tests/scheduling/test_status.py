"""`status` beside a sweep that runs, that was killed, and that has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import S3Server
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import SWEEP, Driver
from unlearn_ray.storage.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def said(store: str, *options: str) -> str:
    command = [sys.executable, "-m", "unlearn_ray.sweep", "status", store, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def told(store: str) -> dict[str, Any]:
    (sweep,) = json.loads(said(store, "--json"))["sweeps"]
    return dict(sweep)


def test_a_sweep_is_seen_from_beside(
    tmp_path: Path, s3_server: S3Server, uninterrupted: Uninterrupted
) -> None:
    folder = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    local, store = open_store(folder), s3_server.store_url("prefix")
    beneath = open_store(store).objects
    for name in local.objects.names(""):
        beneath.write(name, local.objects.read(name))

    with Driver(uninterrupted.file, store) as driver:
        driver.until(lambda: beneath.names("leases/") != [], "the first lease")
        running = told(store)
        assert (running["name"], running["process"]) == ("tiny", driver.process.pid)
        assert running["references"]["pretrain"] == [1, 2]
        assert not running["driver_ended"]
        pretraining = [one for one in running["running"] if one["step"] == "pretrain (seed 0)"]
        assert [one["heartbeat"] for one in pretraining] == ["alive"]
        driver.kill()
    killed = said(store)
    assert "stopped; its driver (process" in killed
    assert "none: the process has ended" in killed

    with Driver(uninterrupted.file, store) as driver:
        driver.ends(0)
    finished = told(store)
    assert finished["finished"]
    assert finished["running"] == []
    assert beneath.names("leases/") == []
    for study in finished["studies"]:
        assert study["complete"] + study["stopped"] == SWEEP["search"]["trials"]
        assert study["reported"] == study["to_report"] == 1
    assert all(hours > 0 for hours in finished["hours"].values())
    assert "tiny on " in said(store)
    assert ": finished\n" in said(store, "tiny", "--watch", "0.1")
