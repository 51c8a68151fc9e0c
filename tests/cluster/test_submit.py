"""`ray job submit` from a machine with nothing but Ray, with the results in a real S3 store."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.s3_server import REGION, Credentials, S3Server, free_ports
from tests.cluster.files import PROGRAMS, ROOT, files_with
from tests.own_project import write_parts, write_sweep
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import attempts, environment_of, kill_marked, rows, table
from tests.scheduling.test_own_code import assert_own_parts_were_used
from unlearn_ray.storage.store import open_store

START_SECONDS = 180
JOB_SECONDS = 900
SECONDS_TO_STOP = 60

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@dataclass(frozen=True)
class Running:
    """A cluster that knows the store's credentials; its address, logs and store server."""

    address: str
    folder: Path
    s3: S3Server

    def store(self) -> str:
        """URL of a new store."""
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.s3.client.create_bucket(Bucket=bucket)
        return f"s3://{bucket}/some/prefix?endpoint={self.s3.endpoint}"

    def job(self, submission: str) -> JobDetails:
        """What the cluster knows of a job."""
        return JobSubmissionClient(self.address).get_job_info(submission)

    def logs(self, submission: str) -> str:
        """What a job has printed."""
        return JobSubmissionClient(self.address).get_job_logs(submission)

    def assert_no_secret_in(self, text: str) -> None:
        """Neither in `text` nor in any file of the cluster's sessions, which hold its command."""
        assert files_with("unlearn_ray.sweep tiny.yaml", self.folder) != []
        credentials = self.s3.credentials
        for secret in (credentials.secret_key, credentials.access_key):
            assert secret not in text
            assert files_with(secret, self.folder) == []


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """With credentials that nothing else looks like; this process knows them, too."""
    folder = tmp_path_factory.mktemp("s3")
    environment = Path(os.environ.get("UNLEARN_RAY_S3_VENV", ROOT / ".venv-s3"))
    credentials = Credentials(f"test:{secrets.token_hex(8)}", secrets.token_hex(32))
    with (
        pytest.MonkeyPatch.context() as variables,
        S3Server(folder / "server", environment, credentials) as server,
    ):
        variables.setenv("AWS_ACCESS_KEY_ID", credentials.access_key)
        variables.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_key)
        variables.setenv("AWS_DEFAULT_REGION", REGION)
        variables.setenv("RAY_AUTH_MODE", "disabled")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            variables.delenv(name, raising=False)
        yield server


@pytest.fixture(scope="module")
def cluster(s3: S3Server) -> Iterator[Running]:
    """Started from the project's environment, as on a node of an image with the package."""
    mark = uuid.uuid4().hex
    environment = {
        **environment_of(mark),
        # Jobs run the `python` that the head finds.
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP),
    }
    # Ray puts sockets in there, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    gcs, client, dashboard, agent, agent_grpc = free_ports(5)
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            [
                *(str(PROGRAMS / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
                *("--node-ip-address=127.0.0.1", "--num-cpus=2", f"--temp-dir={folder}"),
                *(f"--port={gcs}", f"--ray-client-server-port={client}"),
                *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
                *(f"--dashboard-agent-grpc-port={agent_grpc}", "--object-store-memory=200000000"),
                *("--min-worker-port=0", "--max-worker-port=0"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    running = Running(f"http://127.0.0.1:{dashboard}", folder, s3)
    try:
        until(lambda: head.poll() is not None or takes_jobs(running.address), START_SECONDS)
        if head.poll() is not None:
            pytest.fail((folder / "log").read_text())
        yield running
    finally:
        # Only its own: other clusters may run on this machine, so no `ray stop`.
        kill_marked(mark)
        head.wait()
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Client:
    """`ray job ...` on a clean machine: nothing but Ray, no credentials, no repository."""

    programs: Path
    clone: Path
    folder: Path
    address: str

    def ray_job(
        self, verb: str, *arguments: str, seconds: float = JOB_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        home = {"HOME": str(self.folder), "PATH": f"{self.programs}:/usr/bin:/bin"}
        return subprocess.run(
            ["ray", "job", verb, "--address", self.address, *arguments],
            cwd=self.folder,
            env={**home, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def submit(
        self, store: str, *options: str, changes: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Submit the tiny sweep."""
        command = ["python", "-m", "unlearn_ray.sweep", "tiny.yaml", "--store", store]
        for change in changes:
            command += ["--set", change]
        return self.ray_job("submit", *options, "--working-dir", str(self.clone), "--", *command)


@pytest.fixture
def client(only_ray: Path, clone: Path, tmp_path: Path, cluster: Running) -> Client:
    return Client(only_ray, clone, tmp_path, cluster.address)


def test_a_submitted_job_leaves_its_rows_in_the_bucket(
    client: Client, cluster: Running, uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    assert uninterrupted.rows != []
    store = cluster.store()
    job = client.submit(store)
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
    cluster.assert_no_secret_in(told)


def test_a_stopped_job_saves_its_work_and_the_same_submission_goes_on(
    client: Client, cluster: Running, uninterrupted: Uninterrupted
) -> None:
    store, first = cluster.store(), f"first-{uuid.uuid4().hex[:8]}"
    often = ("checkpoint_minutes=0.005",)
    begun = client.submit(store, "--no-wait", "--submission-id", first, changes=often)
    assert begun.returncode == 0, begun.stderr
    beneath = open_store(store).objects

    def training() -> bool:
        assert cluster.job(first).status in (JobStatus.PENDING, JobStatus.RUNNING), cluster.logs(
            first
        )
        return beneath.names("checkpoints/") != []

    until(training, JOB_SECONDS)
    stopped = client.ray_job("stop", first, seconds=SECONDS_TO_STOP + 60)
    assert stopped.returncode == 0, stopped.stderr
    assert cluster.job(first).status == JobStatus.STOPPED
    logs = cluster.logs(first)
    assert "run the same command to resume" in logs
    assert "Traceback" not in logs
    assert beneath.names("checkpoints/") != [], "what it had trained is gone"
    assert beneath.names("rows/") == []
    again = client.submit(store, changes=often)
    assert again.returncode == 0, f"{again.stdout}\n{again.stderr}"
    assert rows(store) == uninterrupted.rows
    assert set(attempts(store).values()) == {1}, "a model was trained twice"
    cluster.assert_no_secret_in(logs + again.stdout + again.stderr)


def test_a_job_with_a_bad_input_fails_with_its_exit_status(
    client: Client, cluster: Running
) -> None:
    submission = f"bad-{uuid.uuid4().hex[:8]}"
    job = client.submit(
        cluster.store(), "--submission-id", submission, changes=("search.trails=3",)
    )
    assert job.returncode == 1
    assert "did you mean trials" in job.stdout
    found = cluster.job(submission)
    assert found.status == JobStatus.FAILED
    assert found.driver_exit_code == 2


def test_a_job_with_parts_of_its_own(client: Client, cluster: Running) -> None:
    folder = client.clone / "own"
    files = write_parts(folder)
    write_sweep(folder, *(f"./{path.name}" for path in files.values()))
    store = cluster.store()
    command = ["python", "-m", "unlearn_ray.sweep", "own/own.yaml", "--store", store]
    job = client.ray_job("submit", "--working-dir", str(client.clone), "--", *command)
    assert job.returncode == 0, f"{job.stdout}\n{job.stderr}"
    assert_own_parts_were_used(store)


def takes_jobs(address: str) -> bool:
    try:
        JobSubmissionClient(address).list_jobs()
    except (ConnectionError, RuntimeError):
        return False
    return True


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
