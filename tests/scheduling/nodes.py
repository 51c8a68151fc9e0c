"""A Ray cluster of several nodes on this machine: each is a `ray start` of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.scheduling.sweeps import environment_of, kill_marked, marked

RAY = str(Path(sys.executable).parent / "ray")
START_SECONDS = 180.0
_STARTED = "will now block forever"
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
_OBJECT_STORE_BYTES = 100_000_000


class Node:
    """One node: a raylet, its agents and the workers that it starts.

    Args:
        folder: for its log.
        arguments: of `ray start`.
        environment: beside this process's own.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self.label = f"node-{self.mark[:8]}"
        # Jobs and workers run the `python` that the node finds.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.log = folder / self.label
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(RAY, "start", "--block", "--disable-usage-stats", *arguments),
                    f'--resources={{"{self.label}": 1}}',
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment_of(self.mark), **OPEN, "PATH": path, **environment},
                start_new_session=True,
            )

    def processes(self, *titles: str) -> list[int]:
        """Its processes whose title contains one of these words: `RayTrainWorker` ..."""
        return titled(marked(self.mark), *titles)

    def kill(self) -> None:
        """kill -9 of all that the node runs: the machine is gone."""
        kill_marked(self.mark)
        self.process.wait()


class Nodes:
    """A head and its nodes; a context manager that leaves nothing behind.

    Args:
        cpus: of each node; the first is the head.
        environment: of every node.
        head: further arguments of the head's `ray start`.
    """

    def __init__(
        self,
        cpus: Sequence[float],
        *,
        environment: dict[str, str] | None = None,
        head: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        # Ray puts sockets in there, whose paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.environment = environment or {}
        self.port = port or free_port()
        self.nodes: list[Node] = []
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__)
            client = free_port()
            self._start(
                *("--head", f"--port={self.port}", f"--temp-dir={self.folder}"),
                *("--include-dashboard=false", f"--ray-client-server-port={client}"),
                *(f"--num-cpus={cpus[0]:g}", *head),
            )
            for each in cpus[1:]:
                self.add(each)
            undo.pop_all()

    @property
    def address(self) -> str:
        """For `--address`."""
        return f"127.0.0.1:{self.port}"

    @property
    def head(self) -> Node:
        """The first node."""
        return self.nodes[0]

    @property
    def workers(self) -> list[Node]:
        """All others that were not killed."""
        return [node for node in self.nodes[1:] if node.process.poll() is None]

    def add(self, cpus: float, *arguments: str) -> Node:
        """A further node."""
        return self._start(f"--address={self.address}", f"--num-cpus={cpus:g}", *arguments)

    def where(self, *titles: str) -> Node | None:
        """A node, not the head, that runs a process of one of these titles."""
        return next((node for node in self.workers if node.processes(*titles)), None)

    def drain(self, node: Node, seconds: int) -> None:
        """Tell Ray that a node will be gone in so many seconds, as a spot notice does."""
        with connected(self):
            import ray

            ids = [each["NodeID"] for each in ray.nodes() if each["Resources"].get(node.label)]
        subprocess.run(
            [
                *(RAY, "drain-node", f"--address={self.address}", f"--node-id={ids[0]}"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"),
                f"--deadline-remaining-seconds={seconds}",
            ],
            check=True,
            env={**os.environ, **OPEN},
            capture_output=True,
        )

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *arguments: str) -> Node:
        size = f"--object-store-memory={_OBJECT_STORE_BYTES}"
        node = Node(self.folder, (size, *arguments), self.environment)
        self.nodes.append(node)
        # Several that start on one machine at a time take each other for themselves.
        deadline = time.monotonic() + START_SECONDS
        while _STARTED not in node.log.read_text():
            if node.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(node.log.read_text())
            time.sleep(0.1)
        return node


def titled(pids: Sequence[int], *titles: str) -> list[int]:
    """Those of the processes whose title contains one of these words."""
    return [pid for pid in pids if any(title in _title(pid) for title in titles)]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def terminate(pids: Sequence[int]) -> None:
    """SIGTERM to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def connected(nodes: Nodes) -> Iterator[None]:
    """This process as a driver of the cluster."""
    import ray

    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def small_ray(cpus: int) -> Iterator[None]:
    """A Ray of this process alone, with so many CPUs."""
    import ray

    ray.init(
        "local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=80_000_000,
    )
    try:
        yield
    finally:
        ray.shutdown()
