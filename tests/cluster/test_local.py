"""cluster/local.sh: what it prints is enough to run a sweep, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.local import State
from cluster.s3_server import free_ports
from tests.cluster.files import CLUSTER, PROGRAMS, files_with
from tests.scheduling.sweeps import environment_of, kill_marked, marked

NOT_RUNNING = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Local:
    """local.sh with a state folder and ports of its own."""

    state: State
    mark: str
    sessions: Path

    def run(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        """cluster/local.sh VERB."""
        return subprocess.run(
            [str(CLUSTER / "local.sh"), verb, "--state", str(self.state.folder), *options],
            cwd=self.sessions,
            env={**environment_of(self.mark), "RAY_TMPDIR": str(self.sessions)},
            capture_output=True,
            text=True,
            timeout=400,
        )


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    # Ray puts sockets in there, whose paths must be short.
    sessions = Path(tempfile.mkdtemp(prefix="ray-"))
    found = Local(State(tmp_path / "state"), uuid.uuid4().hex, sessions)
    yield found
    kill_marked(found.mark)
    shutil.rmtree(sessions)


def ports() -> list[str]:
    names = ("dashboard", "ray", "s3")
    return [f"--{name}-port={port}" for name, port in zip(names, free_ports(3), strict=True)]


def test_a_sweep_on_the_local_cluster(local: Local, only_ray: Path, clone: Path) -> None:
    assert local.run("status").returncode == NOT_RUNNING
    given = ports()
    started = local.run("start", *given)
    assert started.returncode == 0, started.stderr
    exports, submit = printed(started.stdout)
    assert "sweeps/quickstart.yaml" in submit
    job = typed(exports, submit.replace("sweeps/quickstart.yaml", "tiny.yaml"), only_ray, clone)
    assert job.returncode == 0, f"{job.stdout}\n{job.stderr}"
    [name] = set(re.findall(r"raysubmit_\w+", job.stdout))
    status = typed(exports, f"ray job status {name}", only_ray, clone)
    assert "succeeded" in status.stdout
    no_secret_is_told(local, started.stdout + started.stderr + job.stdout + job.stderr)
    assert printed(local.run("start", *given).stdout) == (exports, submit), "it runs already"
    assert local.run("stop").returncode == 0
    leaves_nothing(local)
    assert local.run("status").returncode == NOT_RUNNING
    assert local.run("stop").returncode == 0, "stopped already"
    started = local.run("start", *ports())
    exports, _ = printed(started.stdout)
    query = "python -m unlearn_ray.results s3://unlearning/quickstart query 'select 1 from rows'"
    assert typed(exports, query, PROGRAMS, clone).returncode == 0, "the data are gone"
    assert local.run("stop").returncode == 0
    leaves_nothing(local)


def test_a_taken_port_is_named(local: Local) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = local.run("start", f"--s3-port={port}")
    assert started.returncode == 2
    assert f"port {port} is taken; choose another with --s3-port" in started.stderr
    assert local.run("status").returncode == NOT_RUNNING


def printed(text: str) -> tuple[str, str]:
    """The lines to export, and the one that submits."""
    lines = text.splitlines()
    exports = "\n".join(line for line in lines if line.startswith("export "))
    [submit] = [line for line in lines if line.startswith("ray job submit")]
    return exports, submit


def typed(
    exports: str, command: str, programs: Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    """What a person types into a new shell."""
    return subprocess.run(
        ["bash", "-c", f"{exports}\n{command}"],
        cwd=folder,
        env={"HOME": str(folder), "PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=900,
    )


def no_secret_is_told(local: Local, text: str) -> None:
    folder = local.state.folder
    secrets = [local.state.token.read_text()]
    secrets += re.findall(r"= (\S+)", local.state.credentials.read_text())
    assert len(secrets) == 3
    assert files_with("unlearn_ray.sweep tiny.yaml", local.sessions) != []
    logs = [local.state.log, *folder.glob("s3/*.log")]
    for secret in secrets:
        assert secret not in text
        assert files_with(secret, local.sessions) == []
        assert not any(secret in log.read_text() for log in logs)
    for file in (local.state.token, local.state.credentials):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def leaves_nothing(local: Local, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while left := marked(local.mark):
        assert time.monotonic() < deadline, [
            Path(f"/proc/{pid}/cmdline").read_bytes()[:80]
            for pid in left
            if os.path.exists(f"/proc/{pid}")
        ]
        time.sleep(0.1)
