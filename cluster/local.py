"""One machine as a cluster: a Ray head that takes jobs, and an S3 server on loopback.

One supervisor process holds both: they end with it, and a lock says whether it lives. Secrets
are made once, kept in files that only their owner reads, and never printed. Some of Ray's ports
listen on all interfaces, so that the cluster wants a token.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cluster.s3_server import (
    REGION,
    Credentials,
    S3Server,
    end_with_parent,
    free_ports,
    listens,
)

BUCKET = "unlearning"
START_SECONDS = 180
STOP_SECONDS = 60
_LOOK_SECONDS = 0.2
_ROOT = Path(__file__).parent.parent
# What would win over the exports below, or over a job's own code.
_UNWANTED = {
    "PYTHONPATH",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
}
_HEAD_ENVIRONMENT = {
    # How long a job that was asked to stop may save its work before it is killed (default 3 s).
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
    # No other node could take over what this one drains: do not wait for that.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
_PORTS = {"dashboard": 8265, "ray": 6379, "s3": 9000}


@dataclass(frozen=True)
class State:
    """The folder that outlives a start: secrets, data, logs, the S3 server's environment."""

    folder: Path

    @property
    def lock(self) -> FileLock:
        """Held by the supervisor as long as it lives."""
        return FileLock(self.folder / "lock")

    @property
    def running(self) -> bool:
        """Whether a supervisor lives."""
        try:
            with self.lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    @property
    def log(self) -> Path:
        """What the supervisor and `ray start` print."""
        return self.folder / "log"

    @property
    def token(self) -> Path:
        """What Ray asks of everyone who talks to the cluster."""
        return self.folder / "token"

    @property
    def credentials(self) -> Path:
        """The S3 server's, as an AWS credentials file."""
        return self.folder / "credentials"

    def read(self) -> dict[str, int]:
        """`pid` of the supervisor and, once all answers, the ports; {} if it is not that far."""
        try:
            found: dict[str, int] = json.loads((self.folder / "running.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def write(self, found: dict[str, int]) -> None:
        """See `read`."""
        new = self.folder / "running.json.new"
        new.write_text(json.dumps(found))
        new.replace(self.folder / "running.json")

    def prepare(self) -> Credentials:
        """Make what the first start makes; the S3 server's credentials."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.token.exists():
            _write_secret(self.token, secrets.token_hex(32))
        if not self.credentials.exists():
            key, secret = f"local:{secrets.token_hex(8)}", secrets.token_hex(32)
            text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
            _write_secret(self.credentials, text)
        found = configparser.ConfigParser()
        found.read(self.credentials)
        known = found["default"]
        return Credentials(known["aws_access_key_id"], known["aws_secret_access_key"])

    def exports(self, ports: dict[str, int]) -> dict[str, str]:
        """The variables that everything which talks to this cluster and its store needs."""
        return {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
            "AWS_DEFAULT_REGION": REGION,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard']}",
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    state = State(options.state.expanduser().absolute())
    ports = {name: getattr(options, f"{name}_port") for name in _PORTS}
    if options.verb == "serve":
        return serve(state, ports)
    if options.verb == "start":
        return start(state, ports)
    return stop(state) if options.verb == "stop" else status(state)


def start(state: State, ports: dict[str, int]) -> int:
    """Start the cluster unless it runs, wait until it takes jobs, say how to use it."""
    if state.running:
        return status(state)
    for name, port in ports.items():
        if listens(port):
            print(f"port {port} is taken; choose another with --{name}-port", file=sys.stderr)
            return 2
    state.prepare()
    _install_s3_server(state)
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    with state.log.open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "cluster.local", "serve", f"--state={state.folder}", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_ROOT,
            start_new_session=True,
        )
    while state.read().get("pid") != supervisor.pid or "s3" not in state.read():
        if supervisor.poll() is not None:
            print(f"it did not start; from {state.log}:", file=sys.stderr)
            print(state.log.read_text()[-3000:], file=sys.stderr)
            return 1
        time.sleep(0.1)
    return status(state)


def stop(state: State) -> int:
    """End the cluster; data and secrets stay."""
    if not state.running:
        print("not running")
        return 0
    pid = state.read()["pid"]
    os.kill(pid, signal.SIGTERM)
    try:
        state.lock.acquire(timeout=STOP_SECONDS).lock.release()
    except Timeout:
        print(f"process {pid} still runs; see {state.log}", file=sys.stderr)
        return 1
    print(f"stopped; the data stay in {state.folder}")
    return 0


def status(state: State) -> int:
    """Say what runs, and what to type to use it; 3 if nothing does, as of a service."""
    if not state.running:
        print("not running")
        return 3
    found = state.read()
    if "s3" not in found:
        print(f"starting, process {found.get('pid')}; see {state.log}")
        return 0
    print(f"running, process {found['pid']}; to use it:\n")
    for name, value in state.exports(found).items():
        print(f"export {name}={shlex.quote(value)}")
    print(
        "\nray job submit --working-dir . -- python -m unlearn_ray.sweep"
        f" sweeps/quickstart.yaml --store s3://{BUCKET}/quickstart"
        f"\n\ndashboard: http://127.0.0.1:{found['dashboard']} (it asks for the token"
        f" in {state.token})"
    )
    return 0


def serve(state: State, ports: dict[str, int]) -> int:
    """The supervisor: run both until SIGTERM, or until one of them ends."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    credentials = state.prepare()
    with state.lock.acquire(timeout=0):
        state.write({"pid": os.getpid()})
        server = S3Server(state.folder / "s3", state.folder / "venv", credentials, ports["s3"])
        with server as s3, _head(state, ports) as head:
            with contextlib.suppress(s3.client.exceptions.BucketAlreadyOwnedByYou):
                s3.client.create_bucket(Bucket=BUCKET)

            def lives() -> bool:
                return not stopping and s3.running and head.poll() is None

            deadline = time.monotonic() + START_SECONDS
            while lives() and not _takes_jobs(state, ports):
                if time.monotonic() > deadline:
                    print("the dashboard does not answer")
                    return 1
                time.sleep(_LOOK_SECONDS)
            if lives():
                state.write({"pid": os.getpid(), **ports})
            while lives():
                time.sleep(_LOOK_SECONDS)
    return 0 if stopping else 1


@contextlib.contextmanager
def _head(state: State, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """`ray start --head`, which gives its environment to all workers and jobs."""
    client, agent, agent_grpc = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    programs = Path(sys.executable).parent
    # Jobs run the `python` that the head finds.
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    head = subprocess.Popen(
        [
            *(str(programs / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={ports['ray']}"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={ports['dashboard']}"),
            *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
            f"--dashboard-agent-grpc-port={agent_grpc}",
            # Any free ones: Ray's own range may hold the ports above.
            *("--min-worker-port=0", "--max-worker-port=0"),
        ],
        stdin=subprocess.DEVNULL,
        env={**environment, **_HEAD_ENVIRONMENT, **state.exports(ports)},
        preexec_fn=end_with_parent(signal.SIGTERM),
    )
    try:
        yield head
    finally:
        head.terminate()
        head.wait(STOP_SECONDS)


def _takes_jobs(state: State, ports: dict[str, int]) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{ports['dashboard']}/api/jobs/",
        headers={"Authorization": f"Bearer {state.token.read_text()}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _install_s3_server(state: State) -> None:
    """Once; in an environment of its own."""
    folder = state.folder / "venv"
    if (folder / "installed").exists():
        return
    print(f"installing the S3 server into {folder}")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    requirements = str(_ROOT / "cluster" / "swift.txt")
    subprocess.run([*install, "--requirement", requirements], check=True)
    (folder / "installed").touch()


def _write_secret(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster/local.sh", description=__doc__)
    parser.add_argument(
        "verb", choices=["start", "stop", "status", "serve"], help="serve: do not detach"
    )
    state = Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")) / "unlearn_ray"
    parser.add_argument(
        "--state",
        type=Path,
        default=state,
        metavar="FOLDER",
        help="secrets, data and logs; kept when the cluster stops (default: %(default)s)",
    )
    for name, port in _PORTS.items():
        parser.add_argument(
            f"--{name}-port", type=int, default=port, metavar="N", help=f"default {port}"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
