"""Run at most once: whoever asks, however often, a step's work is done one time per store.

Ask the store; if there is no record, take the lease, run, upload the artifact, and write the
record last. Whoever dies on the way leaves a lease that ends and a checkpoint that is resumed.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from unlearn_ray.core.collective import on_first
from unlearn_ray.core.errors import LeaseLost, StepFailed
from unlearn_ray.pipeline.runtime import Produced, Runtime
from unlearn_ray.pipeline.steps import Step
from unlearn_ray.storage.leases import Lease
from unlearn_ray.storage.store import FileEntry, Record, Store

POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Uploaded:
    """What a step's execution left: files in the store, and what its record says."""

    files: dict[str, FileEntry]
    result: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A step's record, and whether this call ran it."""

    record: Record
    ran: bool


@cache  # each is parsed from a file of metadata: 8 ms for the five
def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    return {name: version(name) for name in ("unlearn_ray", "torch", "numpy", "ray", "optuna")}


def run_here(step: Step, runtime: Runtime) -> Uploaded:
    """Run a step in this process and upload what it made; of several workers, the first does."""
    produced = step.run(runtime)
    return on_first(lambda: _upload(step, produced, runtime.store))


def _upload(step: Step, produced: Produced, store: Store) -> Uploaded:
    return Uploaded(store.put_artifact(step.kind, step.key, produced.files), produced.result)


def ensure(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    *,
    give_up: Callable[[], bool] = lambda: False,
) -> Done:
    """The record of a step, from the store or by running it under its lease.

    Args:
        step: its inputs are in the store.
        store: where records and leases are.
        execute: runs the step and uploads its artifact; `run_here`, or Ray Train.
        give_up: asked while another process holds the lease; a lease that is lost while the
            step runs (this process stood still) is waited for likewise.

    Raises:
        StepFailed: an input has no record, or `give_up` said so.
    """
    while True:
        record = store.record(step.kind, step.key)
        if record is not None:
            return Done(record, ran=False)
        for name, wanted in step.inputs().items():
            if store.record(wanted.kind, wanted.key) is None:
                raise StepFailed(
                    f"{step}", f"its input {name} ({wanted}) is not in the store", "run that first"
                )
        lease = store.lease(step.key)
        if lease is not None:
            try:
                return _run_leased(step, store, execute, lease)
            except LeaseLost as error:
                # This process was silent for too long; whoever took over leaves the record.
                _log.warning("%s: %s", step, error)
        if give_up():
            raise StepFailed(f"{step}", "was given up while another process ran it", "run again")
        time.sleep(POLL_SECONDS)


def _run_leased(
    step: Step, store: Store, execute: Callable[[Step], Uploaded], lease: Lease
) -> Done:
    with lease:
        # Whoever held the lease until now may have completed the step.
        record = store.record(step.kind, step.key)
        if record is not None:
            return Done(record, ran=False)
        started = time.monotonic()
        uploaded = execute(step)
        lease.check()
        record = Record(
            kind=step.kind,
            key=step.key,
            config=step.config,
            inputs={name: wanted.key for name, wanted in step.inputs().items()},
            files=uploaded.files,
            result=uploaded.result,
            seconds=time.monotonic() - started,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            host=socket.gethostname(),
        )
        ran = store.complete(record)
        store.clear_checkpoints(step.key)
    if ran:
        return Done(record, ran=True)
    written = store.record(step.kind, step.key)
    assert written is not None, "a record that could not be created exists"
    return Done(written, ran=False)
