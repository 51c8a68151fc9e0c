"""What a group of workers requests of Ray, and which nodes hold it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unlearn_ray.config.sweep_schema import Resources

# Ray gives each node of such GPUs one unit; its own requests take this much of it.
_SOME = 0.001


def bundle(resources: Resources) -> dict[str, float]:
    """The resources of one worker, by Ray's names."""
    asked: dict[str, float] = {"CPU": resources.cpu}
    if resources.gpus:
        asked["GPU"] = resources.gpus
    if resources.memory is not None:
        asked["memory"] = resources.memory
    if resources.accelerator_type is not None:
        asked[_of_type(resources.accelerator_type)] = _SOME
    return asked


def selector(resources: Resources) -> dict[str, str]:
    """What the labels of a worker's node must be, as Ray reads it.

    Ray takes `in(one, other)` and looks for the label " other" then.
    """
    return {name: wanted.replace(" ", "") for name, wanted in resources.labels.items()}


def selectors(resources: Resources, workers: int) -> dict[str, Any]:
    """The same as an argument of a placement group; none without labels."""
    return {"bundle_label_selector": [selector(resources)] * workers} if resources.labels else {}


def task_options(resources: Resources, asked: Mapping[str, float]) -> dict[str, Any]:
    """The options of a task.

    Args:
        resources: whose labels its node must have.
        asked: what it requests, by Ray's names.
    """
    own = {name: value for name, value in asked.items() if name not in ("CPU", "GPU", "memory")}
    return {
        "num_cpus": asked.get("CPU", 0),
        "num_gpus": asked.get("GPU", 0),
        **({"memory": asked["memory"]} if "memory" in asked else {}),
        **({"resources": own} if own else {}),
        **({"label_selector": selector(resources)} if resources.labels else {}),
    }


def _of_type(accelerator: str) -> str:
    return f"accelerator_type:{accelerator}"


@dataclass(frozen=True)
class Node:
    """What a node has.

    Attributes:
        cpus, gpus: how many.
        others: its further resources, such as memory, by Ray's names.
        labels: its labels.
    """

    cpus: float
    gpus: float
    others: Mapping[str, float] = field(default_factory=lambda: {"memory": math.inf})
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Node:
        """From what `ray.nodes` tells of it."""
        others = dict(told["Resources"])
        cpus, gpus = others.pop("CPU", 0.0), others.pop("GPU", 0.0)
        return cls(cpus, gpus, others, told.get("Labels") or {})

    def workers(self, resources: Resources) -> int:
        """How many workers it holds."""
        if not self.suits(resources):
            return 0
        fits = resources.workers_on(self.cpus, self.gpus)
        if resources.memory is not None:
            fits = min(fits, math.floor(min(1e9, self.others.get("memory", 0) / resources.memory)))
        return fits

    def suits(self, resources: Resources) -> bool:
        """Whether its labels and the type of its GPUs are those that are wanted."""
        kind = resources.accelerator_type
        if kind is not None and not self.others.get(_of_type(kind)):
            return False
        return all(
            _selected(self.labels.get(name), wanted) for name, wanted in resources.labels.items()
        )


def _selected(value: str | None, wanted: str) -> bool:
    """Whether a label is what Ray's selector wants: `spot`, `!spot`, `in(a, b)`, `!in(a, b)`.

    A node that lacks the label is none of any values.
    """
    chosen = wanted.removeprefix("!")
    among = re.fullmatch(r"in\((.*)\)", chosen)
    values = {each.strip() for each in among[1].split(",")} if among else {chosen}
    return (value in values) is not wanted.startswith("!")
