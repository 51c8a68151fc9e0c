"""`Store`: records, artifacts, leases, checkpoints and rows, over any `ObjectStore`."""

from __future__ import annotations

import hashlib
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import (
    CorruptObject,
    MissingObject,
    StoreError,
    StoreUnreachable,
    listed,
)
from unlearn_ray.storage import checkpoints
from unlearn_ray.storage.claims import Claim, Claims
from unlearn_ray.storage.leases import Holder, Lease, Leases, Work
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.objects import ObjectStore, read_present
from unlearn_ray.storage.records import FileEntry, Record, from_bytes, record_name, to_bytes
from unlearn_ray.storage.step_failures import Failure, Failures
from unlearn_ray.storage.tensors import pack_tensors, unpack_tensors
from unlearn_ray.storage.urls import objects_at

if TYPE_CHECKING:
    import pyarrow as pa

    from unlearn_ray.storage.tables import Rows, Scalar

__all__ = [
    "DRIVER",
    "Claim",
    "Claims",
    "Failure",
    "FileEntry",
    "Holder",
    "Lease",
    "Record",
    "Store",
    "Work",
    "open_store",
    "pack_tensors",
    "unpack_tensors",
]

LEASE_SECONDS = 30.0
# Kind of a lease that is no step's, but a driver's.
DRIVER = "driver"
_IDENTITY = "identity"
_DAY = timedelta(days=1)
_COMPACTION = "compaction"


def open_store(url: str, *, lease_seconds: float = LEASE_SECONDS, known: bool = False) -> Store:
    """The store at a folder's path or s3://bucket/prefix[?endpoint=URL&region=NAME].

    Nothing is asked of it yet: `Store.check_writable` does that.

    Args:
        url: where; `Store.url` opens the same store from anywhere.
        lease_seconds: how long the holder of a lease may be silent.
        known: whether a server at this URL has answered another process: when it does not
            answer this one, it is waited for.

    Raises:
        ConfigError: the URL is none of these.
    """
    return Store(objects_at(url, known=known), lease_seconds)


class Store:
    """Everything that outlives a process.

    Attributes:
        objects: the bytes beneath.
        lease_seconds: how long the holder of a lease may be silent.
        failures: of steps whose own code ended them.
    """

    def __init__(self, objects: ObjectStore, lease_seconds: float) -> None:
        self.objects = objects
        self.lease_seconds = lease_seconds
        self._leases = Leases(objects, lease_seconds)
        self._checkpointed: set[str] = set()
        self.failures = Failures(objects)

    def __reduce__(self) -> tuple[type[Store], tuple[ObjectStore, float]]:
        return Store, (self.objects, self.lease_seconds)

    @property
    def url(self) -> str:
        """What opens this store again, from any process and working directory."""
        return self.objects.url

    def check_readable(self) -> None:
        """Make sure that there is a store to read; one request.

        Raises:
            StoreUnreachable, StoreDenied: there is none, or it may not be read.
        """
        self.objects.check_exists()

    def check_writable(self) -> None:
        """Make sure that steps can be stored, before anything is spent; four small requests.

        Raises:
            StoreUnreachable, StoreDenied, StoreFull: what is wrong with it.
            StoreError: it does not hold to create-if-absent, which leases stand on.
        """
        name, data = f"probes/{uuid.uuid4().hex}", b"can this store be written?"
        created = self.objects.create(name, data)
        again = self.objects.create(name, data)
        intact = self.objects.read(name) == data
        self.objects.delete(name)
        if not created or again or not intact:
            raise StoreError(
                f"store {self.url}",
                "it overwrites what must only be created if absent (If-None-Match is ignored)",
                "use a server with conditional writes",
            )

    def remove_leftovers(self) -> None:
        """Remove what killed processes left: leases and checkpoints of steps that are complete.

        And leases of drivers that have ended; one of another machine once it is silent for a day.
        """
        holders = self.holders()
        leased = {record_name(one.work.kind, key): key for key, one in holders.items()}
        for name in read_present(self.objects, leased):
            self.clear_checkpoints(leased[name])
            self._leases.remove(leased[name])
        for key, holder in holders.items():
            if holder.work.kind == DRIVER and (holder.process.is_dead() or holder.is_old(_DAY)):
                self._leases.remove(key)
        if isinstance(self.objects, LocalFolder):
            self.objects.remove_leftovers()

    def identify(self) -> str:
        """The random name that this store keeps for life, made on the first call."""
        self.objects.create(_IDENTITY, uuid.uuid4().hex.encode())
        return self.objects.read(_IDENTITY).decode()

    def check_identity(self, identity: str) -> None:
        """Make sure that this is the store that another machine calls by the same URL.

        Raises:
            StoreUnreachable: it is not: a folder of that name is this machine's own.
        """
        try:
            same = self.objects.read(_IDENTITY).decode() == identity
        except MissingObject:
            same = False
        if not same:
            raise StoreUnreachable(
                f"store {self.url}",
                f"on {socket.gethostname()} that is another one than the driver's",
                "use s3://bucket/prefix, or a folder that all nodes share",
            )

    # records

    def record(self, kind: str, key: str) -> Record | None:
        """The record of a step; None until it is complete.

        Raises:
            CorruptObject: it cannot be parsed.
        """
        try:
            data = self.objects.read(record_name(kind, key))
        except MissingObject:
            return None
        return from_bytes(kind, key, data)

    def complete(self, record: Record) -> bool:
        """Write a record; False if there is one already, which then stays."""
        return self.objects.create(record_name(record.kind, record.key), to_bytes(record))

    def read_records(self, steps: Iterable[tuple[str, str]]) -> dict[str, Record]:
        """The records of those steps (kind, key) that are complete, by key; side by side.

        Raises:
            CorruptObject: one cannot be parsed.
        """
        names = {record_name(kind, key): (kind, key) for kind, key in steps}
        found = read_present(self.objects, names)
        return {names[name][1]: from_bytes(*names[name], data) for name, data in found.items()}

    def records(self, kind: str) -> list[str]:
        """Keys of the completed steps of a kind."""
        prefix = f"records/{kind}/"
        names = self.objects.names(prefix)
        return [name.removeprefix(prefix).removesuffix(".json") for name in names]

    # artifacts

    def put_artifact(self, kind: str, key: str, files: Mapping[str, bytes]) -> dict[str, FileEntry]:
        """Upload a step's output, by file name; returns what its record must hold.

        Every upload goes to a place of its own, so that two of one step never mix.
        """
        folder = f"artifacts/{kind}/{key}/{uuid.uuid4().hex[:16]}"
        entries = {}
        for file, data in files.items():
            entry = FileEntry(f"{folder}/{file}", len(data), hashlib.sha256(data).hexdigest())
            self.objects.write(entry.name, data)
            entries[file] = entry
        return entries

    def read_artifact(self, record: Record, file: str) -> bytes:
        """One file of a completed step's output, verified.

        Raises:
            MissingObject: the record names no such file, or the file is gone.
            CorruptObject: its bytes are not what was uploaded.
        """
        subject = f"{file} of {record.kind} {record.key}"
        remedy = (
            f"delete {record_name(record.kind, record.key)} from {self.url} and run again:"
            " the step is run anew"
        )
        if file not in record.files:
            raise MissingObject(subject, f"its files are {listed(sorted(record.files))}", remedy)
        entry = record.files[file]
        try:
            data = self.objects.read(entry.name)
        except MissingObject as error:
            raise MissingObject(subject, f"no object {entry.name}", remedy) from error
        if len(data) != entry.size:
            reason = f"{entry.name} has {len(data)} bytes, {entry.size} were written"
            raise CorruptObject(subject, reason, remedy)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CorruptObject(subject, f"{entry.name} was altered (SHA-256 differs)", remedy)
        return data

    # leases

    def lease(self, key: str, work: Work) -> Lease | None:
        """The right to run a step now; None while another process holds it.

        Never waits. Call again until a record or a lease comes: this instance remembers what
        it saw of the holder, and takes over when the holder is dead or silent.

        Args:
            key: of the step.
            work: what others are told that it is.
        """
        return self._leases.take(key, work)

    def free(self, key: str, work: Work) -> bool:
        """Whether nobody runs a step; one that was left is freed for any process to take.

        Args:
            key: of the step.
            work: what others are told that it is.
        """
        return self._leases.free(key, work)

    def start_driver(self, sweep: str) -> Lease:
        """A lease that lives as long as this driver of a sweep; its trials are claimed with it."""
        lease = self.lease(f"{DRIVER}-{uuid.uuid4().hex[:16]}", Work(DRIVER, "driver", sweep))
        assert lease is not None, "nobody else draws the same name"
        return lease

    def driver_has_ended(self, key: str) -> bool:
        """Whether a driver has ended or fallen silent; call again to go on watching."""
        return self._leases.has_ended(key)

    def claims(self, study: str) -> Claims:
        """Who runs each trial of a study, and each trial's point."""
        return Claims(self.objects, study)

    def holders(self) -> dict[str, Holder]:
        """Who took each lease last, by key; a step may have been completed since."""
        return self._leases.newest()

    # checkpoints

    def save_checkpoint(self, key: str, iteration: int, data: bytes) -> None:
        """Keep what a step needs to go on from `iteration`, in the place of older ones."""
        self._checkpointed.add(key)
        checkpoints.save(self.objects, key, iteration, data)

    def latest_checkpoint(self, key: str) -> tuple[int, bytes] | None:
        """Iteration and bytes of the newest intact checkpoint.

        Raises:
            CorruptObject: there are checkpoints, but none is intact.
        """
        found = checkpoints.latest(self.objects, key)
        if found is not None:
            self._checkpointed.add(key)
        return found

    def has_checkpointed(self, key: str) -> bool:
        """Whether this instance saved or found a checkpoint of a step; no request."""
        return key in self._checkpointed

    def clear_checkpoints(self, key: str) -> None:
        """Remove all checkpoints of a step."""
        checkpoints.clear(self.objects, key)

    # sweeps

    def write_sweep(self, name: str, data: bytes) -> None:
        """Write or replace what a sweep says of itself when it starts."""
        self.objects.write(f"sweeps/{name}.json", data)

    def sweeps(self) -> dict[str, bytes]:
        """What every sweep that ran on this store said of itself, by name."""
        names = self.objects.names("sweeps/")
        found = read_present(self.objects, names)
        return {n.removeprefix("sweeps/").removesuffix(".json"): data for n, data in found.items()}

    # studies

    def write_study(self, likeness: str, key: str, data: bytes) -> None:
        """Say what a study is, once.

        Args:
            likeness: what studies share that differ in code or data alone.
            key: of the study.
            data: its identity.
        """
        self.objects.create(f"studies/{likeness}/{key}.json", data)

    def studies(self, likeness: str) -> dict[str, bytes]:
        """The identities of the studies of a likeness, by key."""
        prefix = f"studies/{likeness}/"
        found = read_present(self.objects, self.objects.names(prefix))
        return {n.removeprefix(prefix).removesuffix(".json"): data for n, data in found.items()}

    # rows

    @cached_property
    def _rows(self) -> Rows:
        from unlearn_ray.storage.tables import Rows  # pyarrow: only for those who use rows

        return Rows(self.objects)

    def write_row(self, name: str, row: Mapping[str, Scalar]) -> bool:
        """Write one row of the result table, for good; one request.

        Returns:
            False if a row of this name was there, which stays. One that has been merged is not
            seen: then the answer is True, and that one stays all the same.
        """
        return self._rows.write(name, row)

    def extend_row(
        self, name: str, columns: Mapping[str, Scalar], anew: Collection[str] = ()
    ) -> None:
        """Add to a row what it lacks of `columns`: where it has a value, that stays.

        Args:
            name: of the row.
            columns: with their values; null says nothing.
            anew: those of them that count even where the row has another value.

        Raises:
            MissingObject: there is no such row.
        """
        self._rows.extend(name, columns, anew)

    def read_rows(self, *prefixes: str, columns: Sequence[str] = ()) -> pa.Table:
        """All rows, with their names in the column `row`.

        Args:
            prefixes: only rows whose name starts with one of these.
            columns: only these, where they are, which is quicker.

        Raises:
            CorruptObject: a file of rows cannot be read.
        """
        return self._rows.read(prefixes or ("",), columns)

    def row(self, name: str) -> dict[str, Scalar] | None:
        """One row by its name, which is not in it; None if there is none."""
        return self._rows.get(name)

    def rows(self, names: Collection[str]) -> dict[str, dict[str, Scalar]]:
        """Those of these rows that are there, by name, without additions that were not merged."""
        return self._rows.get_all(names)

    def compact(self, names: Iterable[str] | None = None) -> int | None:
        """Merge small files of rows into one; returns how many.

        One process does so at a time. While another does, this one waits: until that one has
        ended, or for a sign of its life, which takes less than half of `lease_seconds`.

        Args:
            names: only of these rows.

        Returns:
            None if another process merges rows, and these may have stayed as they were.

        Raises:
            CorruptObject: a file of rows cannot be read.
        """
        lease = self._leases.await_end(_COMPACTION, Work(_COMPACTION))
        if lease is None:
            return None
        try:
            return self._rows.compact(names)
        finally:
            lease.finish()
