"""The GPUs of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unlearn_ray.config.auto_gpu import Devices, asks_for_auto
from unlearn_ray.config.sweep_schema import ResourcesByStep, Sweep
from unlearn_ray.scheduling.capacity import joined, refused_by_autoscaler
from unlearn_ray.scheduling.devices import Seen, seen_here, together
from unlearn_ray.scheduling.placement import Node
from unlearn_ray.scheduling.ray_private import draining_nodes

_SECONDS = 120.0
_CLUSTER = "in the cluster"


def on_cluster(sweep: Sweep, joining_seconds: float) -> Devices:
    """The GPUs of the connected cluster, or those that its autoscaler may add.

    Args:
        sweep: that will run there.
        joining_seconds: how long to wait for nodes that may still be joining.
    """
    training = sweep.resources.training
    capacity = joined(training, joining_seconds)
    draining = draining_nodes()
    nodes = [
        node
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in draining and _has_gpus(node, sweep.resources)
    ]
    cpus_and_gpus = tuple((node.cpus, node.gpus) for node in capacity.nodes)
    if not nodes:
        one = replace(training, workers=1, gpu=1.0)
        # Asking adds a node, which a sweep that leaves the choice to us would use.
        asks = asks_for_auto(sweep) and capacity.autoscaled
        more = asks and not refused_by_autoscaler(one)
        return Devices(_CLUSTER, None if more else 0.0, nodes=cpus_and_gpus)
    gpus = sum(float(node["Resources"]["GPU"]) for node in nodes)
    found = together(_CLUSTER, gpus, _told([node["NodeID"] for node in nodes]))
    return replace(found, nodes=cpus_and_gpus)


def _has_gpus(told: Mapping[str, Any], resources: ResourcesByStep) -> bool:
    """Whether a node has GPUs, and is one that any of the steps may run on."""
    node = Node.of(told)
    return node.gpus > 0 and (node.suits(resources.training) or node.suits(resources.trial))


def _told(ids: list[str]) -> list[Seen]:
    """What the nodes say of their GPUs; nothing where one is lost or does not answer."""
    tasks = [
        _see.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote()
        for node in ids
    ]
    ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS)
    return [_answer(task) if task in ready else Seen(()) for task in tasks]


def _answer(task: Any) -> Seen:
    try:
        seen: Seen = ray.get(task)
    except ray.exceptions.RayError:
        return Seen(())
    return seen


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _see() -> Seen:
    return seen_here()
