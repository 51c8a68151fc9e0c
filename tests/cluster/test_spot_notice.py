"""Spot notices, told by a server that speaks like a cloud's metadata service, reach Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.state import state

from cluster import spot_notice
from cluster.s3_server import free_ports
from tests.cluster.files import CLUSTER, PROGRAMS

TOKEN = "the-token"


@dataclass
class Metadata:
    """What a machine's metadata service knows, and who asked for what."""

    port: int = 0
    ends: datetime | None = None
    token: str = TOKEN
    preempted: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.port}/",
            "GCE_METADATA_HOST": f"127.0.0.1:{self.port}",
        }


@contextmanager
def serve(known: Metadata, port: int = 0) -> Iterator[None]:
    """Speak like the metadata services of both clouds."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            known.asked.append(self.path)
            wanted = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            right = self.path == "/latest/api/token" and wanted is not None
            self._answer(*((200, known.token) if right else (400, "")))

        def do_GET(self) -> None:
            known.asked.append(self.path)
            if self.path.startswith("/computeMetadata/v1/instance/preempted"):
                self._gcp()
            elif self.headers.get("X-aws-ec2-metadata-token") != known.token:
                self._answer(401)
            elif self.path == "/latest/meta-data/spot/instance-action" and known.ends:
                ends = known.ends.strftime("%Y-%m-%dT%H:%M:%SZ")
                self._answer(200, json.dumps({"action": "terminate", "time": ends}))
            else:
                self._answer(404)

        def _gcp(self) -> None:
            if self.headers.get("Metadata-Flavor") != "Google":
                self._answer(403)
                return
            if "wait_for_change=true" in self.path and "last_etag=tag-FALSE" in self.path:
                known.preempted.wait(2)
            self._answer(200, "TRUE" if known.preempted.is_set() else "FALSE")

        def _answer(self, status: int, text: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("ETag", f"tag-{text}")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        known.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    known = Metadata()
    monkeypatch.setattr(spot_notice, "POLL_SECONDS", 0.05)
    with serve(known):
        for name, value in known.environment.items():
            monkeypatch.setenv(name, value)
        yield known


def later(act: Callable[[], object]) -> None:
    threading.Timer(0.5, act).start()


def test_aws_says_when(metadata: Metadata) -> None:
    def announce() -> None:
        metadata.ends = datetime.now(UTC) + timedelta(seconds=118)

    later(announce)
    started = time.monotonic()
    assert 110 <= spot_notice.aws_notice() <= 118
    assert time.monotonic() - started >= 0.5
    assert metadata.asked.count("/latest/api/token") == 1


def test_aws_takes_a_new_token_when_the_old_one_ends(metadata: Metadata) -> None:
    def expire() -> None:
        metadata.token = "another"
        metadata.ends = datetime.now(UTC) + timedelta(seconds=60)

    later(expire)
    assert 55 <= spot_notice.aws_notice() <= 60
    assert metadata.asked.count("/latest/api/token") == 2


def test_a_notice_that_came_too_late_leaves_no_time(metadata: Metadata) -> None:
    metadata.ends = datetime.now(UTC) - timedelta(seconds=5)
    assert spot_notice.aws_notice() == 0


def test_gcp_waits_for_the_change_instead_of_asking_again(metadata: Metadata) -> None:
    later(metadata.preempted.set)
    assert spot_notice.gcp_notice() == spot_notice.GCP_SECONDS
    assert len(metadata.asked) <= 3, metadata.asked


def test_a_metadata_server_that_is_not_there_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [port] = free_ports(1)
    known = Metadata(port)
    known.preempted.set()
    monkeypatch.setattr(spot_notice, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("GCE_METADATA_HOST", known.environment["GCE_METADATA_HOST"])
    answers: list[int] = []
    waiter = threading.Thread(target=lambda: answers.append(spot_notice.gcp_notice()), daemon=True)
    waiter.start()
    time.sleep(0.3)
    assert waiter.is_alive()
    with serve(known, port):
        waiter.join(10)
    assert answers == [spot_notice.GCP_SECONDS]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head; each test adds a node and takes it away in its own way."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        ray.init(cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@ray.remote
class Step:
    """Something that runs on a node."""

    def works(self) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_notice_drains_the_node(cluster: Any, cloud: str, metadata: Metadata) -> None:
    node = cluster.add_node(num_cpus=1, resources={cloud: 1})
    step = Step.options(resources={cloud: 1}).remote()
    assert ray.get(step.works.remote(), timeout=60)
    script = subprocess.Popen(
        [sys.executable, str(CLUSTER / "spot_notice.py"), cloud, f"--node-id={node.node_id}"],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert script.stdout is not None
    assert "waiting for a notice" in script.stdout.readline()
    assert node.node_id not in draining()
    metadata.ends = datetime.now(UTC) + timedelta(seconds=100)
    metadata.preempted.set()
    assert script.wait(60) == 0
    left = draining()[node.node_id] / 1000 - time.time()
    assert 60 < left <= spot_notice.GCP_SECONDS
    assert ray.get(step.works.remote(), timeout=10), "it may still save its work"
    ray.kill(step)
    until(lambda: node.node_id not in alive())


@pytest.mark.slow
def test_the_node_of_this_machine_is_found(cluster: Any, metadata: Metadata) -> None:
    script = subprocess.Popen(
        [sys.executable, str(CLUSTER / "spot_notice.py"), "aws"],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert script.stdout is not None
    told = script.stdout.readline()
    script.terminate()
    script.wait()
    # Of several nodes on one machine, as here, it is the head.
    assert told.startswith(f"node {cluster.head_node.node_id}: waiting")


@pytest.mark.slow
def test_a_pod_drains_when_it_is_told_to_end(cluster: Any, tmp_path: Path) -> None:
    """The command is KubeRay's; the signal is Kubernetes' to process 1 of the container."""
    start = f"ulimit -n 4096; {PROGRAMS}/ray start --address={cluster.address} --block"
    before = alive()
    with (tmp_path / "log").open("wb") as log:
        pod = subprocess.Popen(
            ["/bin/bash", "-c", "--", f"{start} --resources='{{\"pod\": 1}}'"],
            env={**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "60"},
            stdout=log,
            stderr=log,
        )
    until(lambda: len(alive() - before) == 1)
    [node] = alive() - before
    step = Step.options(resources={"pod": 1}).remote()
    assert ray.get(step.works.remote(), timeout=60)
    pod.terminate()
    until(lambda: node in draining())
    assert pod.poll() is None, "it did not wait for what runs there"
    assert ray.get(step.works.remote(), timeout=10)
    ray.kill(step)
    pod.wait(40)


def draining() -> dict[str, int]:
    """Nodes that go, and when, in milliseconds since 1970."""
    found: dict[str, int] = state.get_draining_nodes()
    return found


def alive() -> set[str]:
    return {each["NodeID"] for each in ray.nodes() if each["Alive"]}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
