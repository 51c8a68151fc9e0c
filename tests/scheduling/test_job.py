"""`ray job submit` to a running cluster, with the results in a real S3 store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import ROOT, S3Server
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import MARK, environment_of, kill_marked, rows, table

RAY = str(Path(sys.executable).parent / "ray")
START_SECONDS = 180

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def environment() -> dict[str, str]:
    """Of the head, the submitting client and, through the head, the job's driver."""
    given = environment_of(uuid.uuid4().hex)
    # Jobs run the `python` that the head finds.
    path = f"{Path(sys.executable).parent}{os.pathsep}{given['PATH']}"
    return {**given, "PATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def dashboard(environment: dict[str, str], s3_server: S3Server) -> Iterator[str]:
    """The address of a cluster of its own, which knows the store's credentials."""
    # Ray puts sockets in there, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    gcs, client, dashboard, agent, agent_grpc = _free_ports(5)
    address = f"http://127.0.0.1:{dashboard}"
    mark = environment[MARK]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            [
                *(RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
                *(f"--port={gcs}", f"--ray-client-server-port={client}", "--num-cpus=2"),
                *("--include-dashboard=true", f"--dashboard-port={dashboard}"),
                *(f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}"),
                *(f"--dashboard-agent-grpc-port={agent_grpc}", "--disable-usage-stats"),
                *("--object-store-memory=200000000",),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"{address}/api/jobs/"):
            if head.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "log").read_text())
            time.sleep(0.2)
        yield address
    finally:
        # Only its own: other clusters may run on this machine, so no `ray stop`.
        kill_marked(mark)
        head.wait()
        shutil.rmtree(folder)


def test_a_submitted_job_leaves_its_rows_in_the_bucket(
    dashboard: str,
    environment: dict[str, str],
    s3_server: S3Server,
    uninterrupted: Uninterrupted,
    tmp_path: Path,
) -> None:
    store = s3_server.store_url("some/prefix")
    command = ["python", "-m", "unlearn_ray.sweep", str(uninterrupted.file), "--store", store]
    job = subprocess.run(
        [RAY, "job", "submit", "--address", dashboard, "--working-dir", ".", "--", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = f"--- stdout\n{job.stdout}\n--- stderr\n{job.stderr}"
    assert job.returncode == 0, told
    assert "succeeded" in job.stdout, told
    assert rows(store) == uninterrupted.rows, told
    assert set(uninterrupted.table) <= set(table(job.stdout)), told
    query = "SELECT count(*) AS n FROM rows"
    asked = [sys.executable, "-m", "unlearn_ray.results", store, "query", query]
    answer = subprocess.run(
        [*asked, "--format", "json"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [{"n": len(uninterrupted.rows)}]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
