"""`gpu: auto` of a plan settled, by what earlier trials needed of a GPU's memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from unlearn_ray.config.auto_gpu import Devices, asks_for_auto, settled
from unlearn_ray.steps.training import GPU_BYTES
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.plan import Plan

# Most records to read.
_MOST = 500


def with_gpus(plan: Plan, store: Store, devices: Devices) -> Plan:
    """A plan whose steps request numbers of GPUs.

    Args:
        plan: the plan.
        store: where earlier trials are.
        devices: of the machine or cluster that it will run on.

    Raises:
        StoreError: the store cannot be read.
    """
    if not asks_for_auto(plan.sweep):
        return plan
    needed = trial_bytes(plan, store) if devices.usable else None
    return replace(plan, sweep=settled(plan.sweep, devices, needed))


def trial_bytes(plan: Plan, store: Store) -> int | None:
    """The most that PyTorch reserved in a trial of a plan's methods, from the same originals.

    Returns:
        Bytes; None if a method has run on no GPU yet.

    Raises:
        StoreError: the store cannot be read.
    """
    originals = {planned.step.key for planned in plan.references}
    most: dict[str, int] = {}
    keys = islice(store.records("unlearn"), _MOST)
    for record in store.read_records(("unlearn", key) for key in keys).values():
        measured = record.result.get(GPU_BYTES)
        method = record.config.get("method")
        if record.inputs.get("original") not in originals or not isinstance(method, dict):
            continue
        if isinstance(measured, int):
            name = str(method.get("name"))
            most[name] = max(measured, most.get(name, 0))
    wanted = {study.method.name for study in plan.sweep.studies}
    return max(most.values()) if wanted <= most.keys() else None
