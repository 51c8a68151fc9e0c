"""Run at most once: a step's work is done once per store, however many processes need it.

Ask the store; if there is no record, take the lease, run, upload the artifact, write the record,
and remove checkpoints and lease. A process that dies meanwhile leaves a lease that expires and a
checkpoint to resume from.

Steps may run along with one that makes a model: right after it, under its lease, and with one
record for all, written when they are done. A process that dies before that loses what the training
took, so this is for models that take no longer than the time between two checkpoints, which a
death may cost in any case. Whoever waits for the model finds it together with these steps.

A step whose artifact was removed on purpose is run again only where the artifact is needed, in the
same way, and its new record replaces the old one.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from unlearn_ray.core.boundary import (
    is_machines,
    is_out_of_memory,
    is_rays,
    reason_of,
    traceback_of,
    translated,
)
from unlearn_ray.core.collective import lost_another, on_first, world_size
from unlearn_ray.core.errors import (
    HeldElsewhere,
    LeaseLost,
    ProgramError,
    StoreError,
    TrialError,
    UnlearnRayError,
)
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.step_failures import failure_name
from unlearn_ray.storage.store import Along, Failure, FileEntry, Lease, Record, Store, Work
from unlearn_ray.train.memory import let_go, shortage

POLL_SECONDS = 0.5
# Files of steps that run along with another are held by its record if they are no larger.
SMALL_BYTES = 1 << 14
NOT_DETERMINISTIC = "use another operation, or set `deterministic: false` in resources"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Uploaded:
    """What a step's execution left.

    Attributes:
        files: the artifact, by file name.
        result: the values for the record.
        seconds: wall time from the workers' start to the uploaded files, without waiting for a
            place on the cluster.
        workers: how many ran it in the end.
        checkpointed: whether it may have left checkpoints.
    """

    files: dict[str, FileEntry]
    result: dict[str, Any]
    seconds: float
    workers: int
    checkpointed: bool


@dataclass(frozen=True)
class Account:
    """What a step's accelerator time is charged to.

    Attributes:
        sweep: its name.
        accelerators: of each worker: GPUs, or CPUs where it asks for none.
        row: the row that the hours are charged to; "" for a reference step.
        trial: the row's trial, in words; "" for a reference step.
    """

    sweep: str
    accelerators: float
    row: str = ""
    trial: str = ""


# Runs the steps that share a record, one after another, once the record's own step has run.
RunAlong = Callable[[Record], Iterable[Along]]


@dataclass(frozen=True)
class Done:
    """A step's record, and whether this call ran it."""

    record: Record
    ran: bool


@cache  # each is parsed from a file of metadata: 8 ms for the five
def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    return {name: version(name) for name in ("unlearn_ray", "torch", "numpy", "ray", "optuna")}


def run_here(step: Step, runtime: Runtime, name: str = "") -> Uploaded:
    """Run a step in this process and upload its output; of several workers, the first uploads.

    Args:
        step: its inputs are in the store.
        runtime: this process's.
        name: the step's name in progress reports; its own if not given.

    Raises:
        ProgramError: on the worker whose code raised an error, or needs more memory than it has.
        MachineError: on the worker whose machine ran out of something or denied it.
    """
    started = time.monotonic()
    with runtime.running(step.key, name or f"{step}"):
        produced = _produced(step, runtime)
        return on_first(lambda: _upload(step, produced, runtime.store, started))


def run_along(
    step: Step, runtime: Runtime, account: Account, record: Record, known: Callable[[Record], None]
) -> Along:
    """Run a step in this process under the lease of another one, whose record it will share.

    Args:
        step: its inputs are in the store or known.
        runtime: this process's.
        account: what its time is charged to.
        record: that of the other step.
        known: called with the step's record.
    """
    started, store = time.monotonic(), runtime.store
    with (
        _noted(step, store, account),
        runtime.running(step.key, work_of(step, account).name),
    ):
        produced = _produced(step, runtime)
    small = {name for name, data in produced.files.items() if len(data) <= SMALL_BYTES}
    along = Along(
        kind=step.name,
        key=step.key,
        config=step.config,
        inputs={name: wanted.key for name, wanted in step.inputs().items()},
        files=store.put_artifact(record.kind, record.key, produced.files, small),
        result=produced.result,
        seconds=time.monotonic() - started,
    )
    (alone,) = replace(record, along=(along,)).sharing
    known(alone)
    return along


def _produced(step: Step, runtime: Runtime) -> Produced:
    try:
        return step.run(runtime)
    except UnlearnRayError:
        raise
    except (Exception, SystemExit) as error:
        # Ray recovers from the end of another worker, and of this process.
        leaves = isinstance(error, SystemExit) and runtime.must_end()
        if leaves or lost_another(error) or is_rays(error):
            raise
        if is_machines(error) and (denied := translated(error)):
            raise denied from error
        kept = f"its traceback is in the store: {failure_name(step.name, step.key)}"
        if is_out_of_memory(error):
            told = shortage(error, f"{step}", kept, runtime.compute)
            runtime.forget()
            let_go(error, runtime.compute)
            raise told from error
        advice = f"{NOT_DETERMINISTIC}; " if _has_no_deterministic_algorithm(error) else ""
        raise program_error(step, error, f"{advice}{kept}") from error


def _has_no_deterministic_algorithm(error: BaseException) -> bool:
    return "does not have a deterministic implementation" in reason_of(error)


def program_error(step: Step, error: BaseException, remedy: str) -> ProgramError:
    """An exception of a step's code as the error that ends the step; it can be pickled."""
    told = ProgramError(f"{step}", reason_of(error), remedy)
    told.traceback = traceback_of(error)
    return told


def _upload(step: Step, produced: Produced, store: Store, started: float) -> Uploaded:
    files = store.put_artifact(step.name, step.key, produced.files, produced.small)
    return Uploaded(
        files=files,
        result=produced.result,
        seconds=time.monotonic() - started,
        workers=world_size(),
        checkpointed=store.has_checkpointed(step.key),
    )


def run_once(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    account: Account,
    *,
    give_up: Callable[[], bool] = lambda: False,
    along: RunAlong = lambda _: (),
) -> Done:
    """Run a step under its lease, unless its record appears first.

    Args:
        step: its inputs are in the store; it probably has no record.
        store: where records and leases are.
        execute: runs the step and uploads its artifact: `run_here`, or Ray Train.
        account: what the time is charged to, if it is run.
        give_up: polled while another process holds the lease, also one that this process lost
            because it was suspended while the step ran.
        along: runs the steps that share its record.

    Raises:
        HeldElsewhere: `give_up` returned True.
    """
    if not step.exclusive:
        return _run(step, store, execute, account, None, along)
    lost: Lease | None = None
    while True:
        lease = store.lease(step.key, work_of(step, account))
        if lease is not None:
            try:
                return _run_leased(step, store, execute, account, lease, along)
            except LeaseLost as error:
                # This process was silent for too long; the one that took over writes the record.
                _log.warning("%s: %s", step, error)
                lost = lease
        if give_up():
            raise HeldElsewhere(f"{step}", "another process runs it", "run the sweep again")
        time.sleep(POLL_SECONDS)
        record = store.record(step.name, step.key)
        if record is not None:
            if lost is not None:
                lost.finish()  # its heartbeat may have come after the other's deletion
            return Done(record, ran=False)


def restore(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    account: Account,
    *,
    give_up: Callable[[], bool] = lambda: False,
) -> Record:
    """Run a complete step again whose artifact was removed, unless another process did meanwhile.

    Args:
        step: its inputs are in the store.
        store: where records and leases are.
        execute: runs the step and uploads its artifact.
        account: what the time is charged to, if it is run.
        give_up: polled while another process holds the lease.

    Returns:
        Its record, which names the new artifact.

    Raises:
        HeldElsewhere: `give_up` returned True.
        LeaseLost: this process was silent for too long.
    """
    while (lease := store.lease(step.key, work_of(step, account))) is None:
        if give_up():
            raise HeldElsewhere(f"{step}", "another process runs it", "run the sweep again")
        time.sleep(POLL_SECONDS)
    with lease:
        record = store.record(step.name, step.key)
        if record is None or store.removed(record) is not None:
            _log.warning("%s: its artifact was removed and is needed; it is run again", step)
            uploaded = execute(step)
            fresh = _record(step, uploaded, account, lease)
            _check(lease, fresh, store)
            # What shared its record is as true of this artifact.
            record = fresh if record is None else replace(fresh, along=record.along)
            store.replace(record)
            store.clear_checkpoints(step.key)
        lease.finish()
        return record


def may_run(step: Step, store: Store, account: Account) -> bool:
    """Whether no other process is known to run a step now."""
    return not step.exclusive or store.free(step.key, work_of(step, account))


def work_of(step: Step, account: Account) -> Work:
    """How a running step appears to other processes."""
    trial = account.trial and f", {account.trial}"
    return Work(step.name, f"{step}{trial}", account.sweep)


def _run_leased(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    account: Account,
    lease: Lease,
    along: RunAlong,
) -> Done:
    with lease:
        # The previous holder of the lease may have completed the step.
        record = store.record(step.name, step.key)
        try:
            done = (
                Done(record, ran=False)
                if record
                else _run(step, store, execute, account, lease, along)
            )
        except TrialError:
            # A retry would fail again, and what the step left is useless.
            store.clear_checkpoints(step.key)
            lease.finish()
            raise
        lease.finish()
        return done


@contextmanager
def _noted(step: Step, store: Store, account: Account) -> Iterator[None]:
    """Keep in the store why the step fails, if it does within the block."""
    try:
        yield
    except TrialError as error:
        # A trial's row says so, too.
        if isinstance(error, ProgramError) or not account.row:
            store.failures.write(_failure(step, error, account))
        raise


def _failure(step: Step, error: TrialError, account: Account) -> Failure:
    return Failure(
        kind=step.name,
        key=step.key,
        step=f"{step}",
        sweep=account.sweep,
        reason=f"{error}",
        traceback=error.traceback if isinstance(error, ProgramError) else "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        versions=versions(),
    )


def _run(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    account: Account,
    lease: Lease | None,
    along: RunAlong,
) -> Done:
    with _noted(step, store, account):
        uploaded = execute(step)
    record = _record(step, uploaded, account, lease)
    done: list[Along] = []
    try:
        for one in along(record):
            done.append(one)
    finally:
        # Whatever ends the other steps, this one is complete.
        record = replace(record, along=tuple(done))
        written = _completed(record, store, lease)
    if uploaded.checkpointed or (lease and lease.generation > 1):
        store.clear_checkpoints(step.key)
    return Done(written, ran=written is record)


def _completed(record: Record, store: Store, lease: Lease | None) -> Record:
    """The record that counts: this one, unless another process was quicker."""
    _check(lease, record, store)
    if store.complete(record):
        return record
    written = store.record(record.kind, record.key)
    assert written is not None, "a record that could not be created exists"
    if written.files != record.files:
        _remove(record, store)
    return written


def _check(lease: Lease | None, record: Record, store: Store) -> None:
    """Make sure that the lease was not lost meanwhile; else nothing is left of the artifact."""
    if lease is not None:
        try:
            lease.check()
        except LeaseLost:
            _remove(record, store)
            raise


def _record(step: Step, uploaded: Uploaded, account: Account, lease: Lease | None) -> Record:
    return Record(
        kind=step.name,
        key=step.key,
        config=step.config,
        inputs={name: wanted.key for name, wanted in step.inputs().items()},
        files=uploaded.files,
        result=uploaded.result,
        seconds=uploaded.seconds,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        host=socket.gethostname(),
        sweep=account.sweep,
        row=account.row,
        workers=uploaded.workers,
        accelerators=account.accelerators,
        earlier_seconds=lease.earlier_seconds() if lease else 0.0,
    )


def _remove(record: Record, store: Store) -> None:
    """Remove duplicates of another process's uploads; `Store.clean` finds what stays."""
    with suppress(StoreError):
        store.remove_uploads(record)
