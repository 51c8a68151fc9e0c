"""Sweeps as jobs of a real SLURM: time limits, lost nodes and arrays give the same rows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.files import ROOT
from tests.cluster.slurm import Slurm
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import attempts, rows, table, write_sweep

JOB_SECONDS = 1200
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    with Slurm(folder / "slurm") as running:
        yield running
    shutil.rmtree(folder)


class Job:
    """A submitted sweep, or an array of them."""

    def __init__(self, slurm: Slurm, folder: Path, *options: str, **limits: str) -> None:
        self.slurm, self.folder = slurm, folder
        self.store = str(folder / "store")
        write_sweep(folder, checkpoint_minutes=0.02)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        written = [sys.executable, "-m", "unlearn_ray", "slurm", "tiny.yaml", "--cpus", "2"]
        subprocess.run(
            [*written, "--store", self.store, "--output", "job.sbatch", *options],
            cwd=folder, env=environment, check=True,
        )  # fmt: skip
        given = [f"--{name}={value}" for name, value in limits.items()]
        self.number = slurm.submit(folder / "job.sbatch", environment, *given)

    @property
    def log(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("tiny-*.log")))

    def says(self, what: str) -> Callable[[], bool]:
        return lambda: what in self.log

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + JOB_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{self.slurm.jobs(self.number)}\n{self.log}"
            time.sleep(0.5)

    def ends(self) -> list[dict[str, str]]:
        """All of the array, completed."""
        self.until(lambda: all(job["JobState"] in OVER for job in self.slurm.jobs(self.number)))
        jobs = self.slurm.jobs(self.number)
        assert [job["JobState"] for job in jobs] == ["COMPLETED"] * len(jobs), self.log
        return jobs


def same(job: Job, uninterrupted: Uninterrupted) -> bool:
    """Its rows and its table are those of a sweep without SLURM."""
    assert rows(job.store) == uninterrupted.rows
    assert set(uninterrupted.table) <= set(table(job.log))
    return True


def test_a_job_of_two_nodes(slurm: Slurm, tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    job = Job(slurm, tmp_path, "--nodes", "2")
    (ended,) = job.ends()
    assert same(job, uninterrupted)
    assert ended["ExitCode"] == "0:0"
    assert ended["NumNodes"] == "2"
    assert slurm.processes() == []
    assert not Path(f"/tmp/ray-{job.number}").exists()
    assert "Killed" not in job.log


def test_a_time_limit(slurm: Slurm, tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """The signal comes 20 to 80 s after the start: SLURM may send it a minute early."""
    job = Job(slurm, tmp_path, time="3", signal="B:USR1@100")
    (ended,) = job.ends()
    assert int(ended["Restarts"]) >= 1
    assert "saved; the job is queued again" in job.log
    assert same(job, uninterrupted)
    assert set(attempts(job.store).values()) == {1}


def test_a_cancelled_job_does_not_come_back(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    job.until(job.says("begun: "))
    slurm.cancel(job.number)
    job.until(lambda: slurm.processes() == [])
    (ended,) = slurm.jobs(job.number)
    assert ended["JobState"] == "CANCELLED"
    assert ended["Restarts"] == "0"
    assert "queued again" not in job.log


def test_a_lost_node(slurm: Slurm, tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    job = Job(slurm, tmp_path, "--nodes", "3")
    job.until(job.says("begun: retrain"))
    slurm.lose("n3")
    (ended,) = job.ends()
    assert ended["Restarts"] == "0"
    assert same(job, uninterrupted)


def test_a_lost_first_node(slurm: Slurm, tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    job = Job(slurm, tmp_path, "--nodes", "2")
    job.until(job.says("begun: retrain"))
    (running,) = slurm.jobs(job.number)
    slurm.lose(running["BatchHost"])
    (ended,) = job.ends()
    assert int(ended["Restarts"]) >= 1
    assert same(job, uninterrupted)


def test_an_array_shares_the_sweep(
    slurm: Slurm, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    job = Job(slurm, tmp_path, "--jobs", "3")
    ended = job.ends()
    assert len(ended) == 3
    assert same(job, uninterrupted)
    assert set(attempts(job.store).values()) == {1}
    assert job.log.count("reference steps run") == 3


def test_a_failed_sweep_fails_its_job(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, begin="now+5seconds")
    (tmp_path / "tiny.yaml").unlink()
    job.until(lambda: slurm.jobs(job.number)[0]["JobState"] in OVER)
    (ended,) = slurm.jobs(job.number)
    assert ended["JobState"] == "FAILED"
    assert ended["ExitCode"] == "2:0", job.log
    assert "tiny.yaml" in job.log
    assert ended["Restarts"] == "0"
