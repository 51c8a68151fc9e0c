"""`Capacity`: what the cluster's nodes hold, and whether its autoscaler could add to them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import ray

from unlearn_ray.config.sweep_schema import Resources
from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.words import counted
from unlearn_ray.scheduling.placement import Node, bundle, selectors
from unlearn_ray.scheduling.ray_private import autoscaling_state, draining_nodes

# The autoscaler checks pending requests every 5 s, and reports refusals in the next round.
AUTOSCALER_SECONDS = 20.0
# Nodes of a cluster that was just started may still be joining.
JOINING_SECONDS = 30.0


@dataclass(frozen=True)
class Capacity:
    """The cluster at one moment.

    Attributes:
        nodes: those that accept new work.
        autoscaled: whether an autoscaler may add nodes.
        refused: pending groups that the autoscaler reports as infeasible, because no node type
            holds them or because it has reached its node limit.
    """

    nodes: tuple[Node, ...]
    autoscaled: bool
    refused: int

    @classmethod
    def now(cls) -> Capacity:
        """The cluster now, according to Ray."""
        draining = draining_nodes()
        nodes = tuple(
            Node.of(node)
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in draining
        )
        state = autoscaling_state()
        refused = len(state.infeasible_gang_resource_requests)
        return cls(nodes, state.autoscaler_state_version > 0, refused)

    def groups(self, resources: Resources) -> int:
        """How many groups, at their smallest, the nodes hold."""
        workers = sum(node.workers(resources) for node in self.nodes)
        return workers // resources.fewest_workers

    def room(self, resources: Resources) -> int:
        """How many groups may run or wait; at least one.

        With an autoscaler, twice what the nodes hold: it scales up for pending groups. Waiting
        trials were suggested without the results of the running ones, so there are no more of
        them, and none beyond the autoscaler's limits.
        """
        held = max(1, self.groups(resources))
        return 2 * held if self.autoscaled and not self.refused else held

    def largest(self) -> str:
        """The nodes in words, largest first."""
        if not self.nodes:
            return "it has no node that accepts new work"
        largest = max(self.nodes, key=lambda node: (node.gpus, node.cpus))
        most = f"at most {counted(largest.cpus, 'CPU')} and {counted(largest.gpus, 'GPU')}"
        several = len(self.nodes) > 1
        return f"its {counted(len(self.nodes), 'node')} {'have' if several else 'has'} {most}"


def check_fits(resources: Resources, what: str, *, joining_seconds: float) -> None:
    """Refuse groups that would wait forever.

    Args:
        resources: of one group.
        what: `training` or `trial`, as in the sweep file.
        joining_seconds: how long to wait for nodes that may still be joining.

    Raises:
        BadInput: no node of the cluster, nor one that its autoscaler may add, holds it.
    """
    capacity = joined(resources, joining_seconds)
    if capacity.groups(resources) > 0:
        return
    if capacity.autoscaled and not refused_by_autoscaler(resources):
        return
    limits = ", and its autoscaler can add no suitable one" if capacity.autoscaled else ""
    raise BadInput(
        f"resources.{what}",
        f"{resources} can never be placed: {capacity.largest()}{limits}",
        f"lower resources.{what}, or start larger or more nodes",
    )


def joined(resources: Resources, seconds: float) -> Capacity:
    """The cluster once its nodes hold a group, or after so many seconds.

    An autoscaler's nodes are not waited for.
    """
    deadline = time.monotonic() + seconds
    while not (capacity := Capacity.now()).groups(resources) and not capacity.autoscaled:
        if time.monotonic() >= deadline:
            break
        time.sleep(1.0)
    return capacity


def refused_by_autoscaler(resources: Resources) -> bool:
    """Let one group wait for a moment, to see whether the autoscaler refuses it."""
    workers = resources.fewest_workers
    group = ray.util.placement_group(
        [bundle(resources)] * workers, strategy="PACK", **selectors(resources, workers)
    )
    first = autoscaling_state().autoscaler_state_version
    try:
        deadline = time.monotonic() + AUTOSCALER_SECONDS
        while time.monotonic() < deadline:
            state = autoscaling_state()
            if any(
                group.id.hex() in gang.details for gang in state.infeasible_gang_resource_requests
            ):
                return True
            if group.wait(1):
                return False
            # Nodes may be pending for another sweep: the second round from now has seen this group.
            pending = state.pending_instance_requests or state.pending_instances
            if pending and state.autoscaler_state_version >= first + 2:
                return False
    finally:
        ray.util.remove_placement_group(group)
    return False


class Room:
    """How many groups of one size may run or wait; asks Ray at most once a second.

    Args:
        resources: of a group.
        most: the upper limit.
    """

    def __init__(self, resources: Resources, most: int | None = None) -> None:
        self._resources = resources
        self._most = most
        self._asked_at = -math.inf
        self._room = 1

    def __call__(self) -> int:
        """The current number."""
        if time.monotonic() - self._asked_at >= 1.0:
            self._room = Capacity.now().room(self._resources)
            self._asked_at = time.monotonic()
        return self._room if self._most is None else min(self._room, self._most)
