"""A Ray cluster on loopback whose nodes can be lost whole, workers and all."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from ray.cluster_utils import Cluster

from tests.scheduling.sweeps import MARK, kill_marked, marked

# The titles of what runs a trial (idle, at work), or a winner on a reporting seed; and of all that
# works: those, reference steps, and what trains.
TRIALS = ("ray::Trial", "ray::ResourceTrainable", "ray::_run_report")
WORKERS = ("ray::RayTrainWorker", "ray::_run_step", *TRIALS)


@dataclass(frozen=True)
class Node:
    """One node; all its processes share a mark."""

    mark: str
    ray: object

    def workers(self, titles: tuple[str, ...] = WORKERS) -> dict[int, str]:
        """The processes with a title that begins like these, by number."""
        found = {pid: _title(pid) for pid in marked(self.mark)}
        return {pid: title for pid, title in found.items() if title.startswith(titles)}


class LocalCluster:
    """A head without CPUs, and nodes of one CPU each; a context manager.

    Args:
        count: of the nodes beside the head.

    Attributes:
        address: of the head.
        nodes: those that live.
    """

    def __init__(self, count: int) -> None:
        self._head_mark = self._new_mark()
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.address: str = self._cluster.address
        self.nodes: list[Node] = []
        for _ in range(count):
            self.add_node()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in list(self.nodes):
            self.lose_node(node)
        self._cluster.shutdown()
        kill_marked(self._head_mark)

    def add_node(self) -> None:
        """Have another node join, and wait until it has; on the main thread, as Ray wants it."""
        mark = self._new_mark()
        self.nodes.append(Node(mark, self._cluster.add_node(num_cpus=1)))

    def lose_node(self, node: Node) -> None:
        """kill -9 of everything that runs on it."""
        self.nodes.remove(node)
        kill_marked(node.mark)
        self._cluster.remove_node(node.ray, allow_graceful=False)

    def workers(self, titles: tuple[str, ...] = WORKERS) -> dict[int, str]:
        """Those of all nodes that live."""
        return {pid: title for node in self.nodes for pid, title in node.workers(titles).items()}

    @staticmethod
    def _new_mark() -> str:
        # Ray's processes inherit this process's environment.
        os.environ[MARK] = uuid.uuid4().hex
        return os.environ[MARK]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return ""
