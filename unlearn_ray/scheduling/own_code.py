"""Code from outside the package on a cluster: sent to every worker before it unpickles anything.

Nodes need not share a file system, and need not have that code. Ray runs a hook in each worker
process as it starts; the hook holds the sources.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core import plugins
from unlearn_ray.core.code import part_digest
from unlearn_ray.core.errors import BadInput, UnlearnRayError
from unlearn_ray.core.plugin_sources import Source
from unlearn_ray.core.registry import Part, parts, registered
from unlearn_ray.core.shipping import Shipment, pack
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.steps.base import Step

_CHECK_SECONDS = 120.0


def parts_of(sweep: Sweep) -> list[type[Part]]:
    """The parts of a sweep from outside the package, and all such quantities and kinds of step."""
    used: list[type[Part]] = [study.method for study in sweep.studies]
    used += [*_types(sweep), *parts(Quantity).values(), *parts(Step).values()]
    return [part for part in dict.fromkeys(used) if part.code]


def _types(value: object) -> Iterator[type[Any]]:
    """The classes of the parts within a value: in fields, lists and mappings."""
    if isinstance(value, Part):
        yield type(value)
    within: Iterable[object] = ()
    if is_dataclass(value) and not isinstance(value, type):
        within = (getattr(value, field.name) for field in fields(value))
    elif isinstance(value, Mapping):
        within = value.values()
    elif isinstance(value, list | tuple):
        within = value
    for inner in within:
        yield from _types(inner)


def shipment_of(sweep: Sweep) -> Shipment | None:
    """What workers need of a sweep's own code; None if it has none.

    Raises:
        BadInput: a file was edited since the sweep was read, or is gone.
    """
    if [source.name for source in plugins.in_use()] != [*sweep.plugins]:
        folder = os.getcwd()
        for error in plugins.use([Source(name, folder) for name in sweep.plugins]).values():
            raise error
    own = parts_of(sweep)
    for part in own:
        if _is_sent_by_name(part) and not _is_as_loaded(part):
            raise BadInput(
                f"{part.kind.replace('_', ' ')} {part.name}",
                "its code was edited or loaded again since the sweep was read",
                "read the sweep again",
            )
    sources = pack({*plugins.modules_in_use(), *(part.__module__ for part in own)})
    codes = {
        (part.__module__, part.__qualname__): part.code
        for part in {*registered().values(), *own}
        if part.__module__ in sources
    }
    return Shipment(sources, codes, plugins.modules_in_use()) if sources else None


def _is_sent_by_name(part: type[Part]) -> bool:
    return part.__module__ != "__main__" and "<" not in part.__qualname__


def _is_as_loaded(part: type[Part]) -> bool:
    found: Any = sys.modules.get(part.__module__)
    for name in part.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is part and part_digest(part, Part) == part.code


def hook(shipment: Shipment) -> Callable[[], None]:
    """What a worker process runs first.

    It must not fail: Ray would start one process after the other. A node that lacks this package
    says so when a step is to run.
    """
    packed = pickle.dumps(shipment)

    # Ray sends a function within a function by value, with what it holds.
    def unpack_code() -> None:
        import contextlib
        import pickle

        with contextlib.suppress(ImportError):
            from unlearn_ray.core.shipping import unpack

            unpack(pickle.loads(packed))  # noqa: S301 - the driver's own

    return unpack_code


def check_nodes() -> None:
    """Import the plug-ins on every node once, before anything is spent.

    Raises:
        BadInput: a node lacks something that they need.
    """
    alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    sent = [
        _load.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        ).remote()
        for node in alive
    ]
    done, _ = ray.wait(sent, num_returns=len(sent), timeout=_CHECK_SECONDS)
    for each in done:
        try:
            error: UnlearnRayError | None = ray.get(each)
        except ray.exceptions.RayError:
            continue  # a node that was lost meanwhile costs nothing
        if error is not None:
            raise error


@ray.remote  # type: ignore[untyped-decorator]
def _load() -> Any:
    try:
        plugins.load_waiting()
    except UnlearnRayError as error:
        return BadInput(
            error.subject,
            f"{error.reason} on node {socket.gethostname()}",
            "install what it needs on every node, or name it in the job's runtime environment",
        )
    return None
