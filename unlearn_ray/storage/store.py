"""`Store`: records, artifacts, leases, checkpoints and rows, over any `ObjectStore`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import socket
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import (
    CorruptObject,
    MissingObject,
    RemovedArtifact,
    StoreError,
    StoreUnreachable,
    listed,
)
from unlearn_ray.core.keys import content_key
from unlearn_ray.storage import checkpoints
from unlearn_ray.storage.claims import Claim, Claims
from unlearn_ray.storage.leases import Holder, Lease, Leases, Work
from unlearn_ray.storage.leftovers import PROBES, Cleaner, Leftovers, clock
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.records import (
    Along,
    FileEntry,
    Record,
    artifact_folder,
    from_bytes,
    record_name,
    step_in,
    to_bytes,
)
from unlearn_ray.storage.removals import Removal, Removals
from unlearn_ray.storage.step_failures import Failure, Failures
from unlearn_ray.storage.stored import MOST_BYTES, Parsed, Reader, json_value
from unlearn_ray.storage.tensors import pack_tensors, unpack_tensors
from unlearn_ray.storage.urls import objects_at

if TYPE_CHECKING:
    import pyarrow as pa

    from unlearn_ray.storage.row_parts import RowParts
    from unlearn_ray.storage.row_tables import Columns
    from unlearn_ray.storage.tables import Rows, Scalar, Written

__all__ = [
    "DRIVER",
    "Along",
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
# The kind of a driver's lease, as opposed to a step's.
DRIVER = "driver"
_IDENTITY = "identity"
_DAY = timedelta(days=1)
# Names of manifests and of studies; a sync tool's conflict copies do not match.
_SWEEP = re.compile(r"sweeps/([A-Za-z0-9][A-Za-z0-9._-]*)\.json")
_SWEEP_FILE = re.compile(r"sweep_files/([A-Za-z0-9][A-Za-z0-9._-]*)/([0-9a-f]{16})\.json")
_STUDY = re.compile(r"studies/[0-9a-f]{16}/([0-9a-f]{16})\.json")
_COMPACTION = "compaction"
_KEEPING = "keeping"


def open_store(url: str, *, lease_seconds: float = LEASE_SECONDS, known: bool = False) -> Store:
    """The store at a folder's path or an s3:// or az:// URL (`urls.objects_at`).

    It is not accessed yet: `Store.check_writable` does that.

    Args:
        url: its location; `Store.url` opens the same store from anywhere.
        lease_seconds: how long the holder of a lease may be silent.
        known: whether the server at this URL has answered another process: if it does not
            answer this one, requests wait for it.

    Raises:
        ConfigError: the URL is invalid.
    """
    return Store(objects_at(url, known=known), lease_seconds)


class Store:
    """Everything that outlives a process, in an object store.

    Attributes:
        objects: the underlying object store.
        lease_seconds: how long the holder of a lease may be silent.
        failures: those of steps whose own code raised an error.
        removals: those of artifacts that were removed on purpose.
    """

    def __init__(self, objects: ObjectStore, lease_seconds: float) -> None:
        self.objects = objects
        self.lease_seconds = lease_seconds
        self._reader = Reader(objects)
        self._leases = Leases(objects, lease_seconds, self._reader)
        self._checkpointed: set[str] = set()
        self.failures = Failures(objects, self._reader)
        self.removals = Removals(objects)

    def __reduce__(self) -> tuple[type[Store], tuple[ObjectStore, float]]:
        return Store, (self.objects, self.lease_seconds)

    @property
    def url(self) -> str:
        """A URL that opens this store again, from any process and working directory."""
        return self.objects.url

    def check_readable(self) -> None:
        """Check that there is a store to read; one request.

        Raises:
            StoreUnreachable, StoreDenied: there is none, or it may not be read.
        """
        self.objects.check_exists()

    def check_writable(self) -> None:
        """Check that steps can be stored, before spending anything; four small requests.

        Raises:
            StoreUnreachable, StoreDenied, StoreFull: what is wrong with it.
            StoreError: it does not support create-if-absent, which leases require.
        """
        name, data = f"{PROBES}{uuid.uuid4().hex}", b"can this store be written?"
        created = self.objects.create(name, data)
        again = self.objects.create(name, data)
        intact = self.objects.read(name) == data
        self.objects.delete(name)
        if not created or again or not intact:
            raise StoreError(
                f"store {self.url}",
                "it ignores conditional PUT (If-None-Match) and overwrites existing objects",
                "use a server with conditional writes",
            )

    def remove_leftovers(self) -> None:
        """Remove what killed processes left: leases and checkpoints of steps that are complete.

        And leases of drivers that have ended; one on another machine once it was silent for a day.
        """
        holders = self.holders()
        # Some may be running once more.
        again = {key for _, key in self.removals.steps()} if holders else set()
        complete = ((one.work.kind, key) for key, one in holders.items() if key not in again)
        for key in self.read_records(complete):
            self.clear_checkpoints(key)
            self._leases.remove(key)
        for key, holder in holders.items():
            if holder.work.kind == DRIVER and (holder.process.is_dead() or holder.is_old(_DAY)):
                self._leases.remove(key)
        if isinstance(self.objects, LocalFolder):
            self.objects.remove_unfinished(_DAY.total_seconds(), self.now())

    def now(self) -> float:
        """The time in Unix seconds by the store's own clock: that of an object written now."""
        return clock(self.objects)

    def keeper(self, what: str) -> Lease | None:
        """The right to remove or merge what the store keeps; None while another process has it.

        Waits for the end of a holder that is silent.

        Args:
            what: it is taken for, in words.
        """
        return self._leases.await_end(_KEEPING, Work(_KEEPING, what))

    def clean(self, age: timedelta = _DAY, *, remove: bool) -> Leftovers:
        """Remove what killed processes left and nobody needs; safe while sweeps run.

        Artifacts that no record names and no living process works on, and checkpoints of steps
        that are complete. Waits for leases whose holders are silent.

        Args:
            age: what is younger is kept.
            remove: False only reports it.
        """
        cleaner = Cleaner(self.objects, self._leases, self._reader, age.total_seconds())
        return cleaner.clean(remove=remove)

    def identify(self) -> str:
        """The random, permanent name of this store, created on the first call."""
        self.objects.create(_IDENTITY, uuid.uuid4().hex.encode())
        return self._identity()

    def _identity(self) -> str:
        data = self.objects.read(_IDENTITY, MOST_BYTES)
        if re.fullmatch(rb"[0-9a-f]{32}", data) is None:
            remedy = "when nothing runs on this store, delete that object: it is written again"
            raise CorruptObject(f"object {_IDENTITY} of {self.url}", "not a store's name", remedy)
        return data.decode()

    def check_identity(self, identity: str) -> None:
        """Check that the URL means the same store on this machine as on the driver's.

        Raises:
            StoreUnreachable: it does not: the folder is local to this machine.
        """
        try:
            same = self._identity() == identity
        except MissingObject:
            same = False
        if not same:
            raise StoreUnreachable(
                f"store {self.url}",
                f"on {socket.gethostname()} this is not the driver's store",
                "use s3:// or az://, or a folder that all nodes share",
            )

    # records

    def record(self, kind: str, key: str) -> Record | None:
        """The record of a step; None until it is complete.

        Raises:
            CorruptObject: it is not a record, or another step's.
        """
        try:
            data = self.objects.read(record_name(kind, key), MOST_BYTES)
        except MissingObject:
            return None
        return from_bytes(kind, key, data)

    def complete(self, record: Record) -> bool:
        """Write a record, create-if-absent; False if there is one already."""
        return self.objects.create(record_name(record.kind, record.key), to_bytes(record))

    def replace(self, record: Record) -> None:
        """Replace the record of a step that was run again because its artifact was removed."""
        self.objects.write(record_name(record.kind, record.key), to_bytes(record))
        self.removals.withdraw([(record.kind, record.key)])

    def read_records(self, steps: Iterable[tuple[str, str]]) -> dict[str, Record]:
        """The records of those steps (kind, key) that are complete, by key; read concurrently.

        Damaged ones are logged and left out.
        """
        names = {record_name(kind, key): (kind, key) for kind, key in steps}
        found = self._reader.parsed(names, lambda name, data: from_bytes(*names[name], data))
        return {names[name][1]: record for name, record in found.items()}

    def records(self, kind: str) -> list[str]:
        """Keys of the completed steps of a kind that have a record of their own."""
        return list(self.kinds(kind))

    def kinds(self, kind: str = "") -> dict[str, str]:
        """The kind of each step that has a record of its own, by key; of all kinds, or of one."""
        names = self.objects.names(f"records/{kind}/" if kind else "records/")
        return {key: of for of, key in filter(None, map(step_in, names))}

    def sharing(self) -> dict[str, Record]:
        """The steps that share the record of an unlearned model, by key; a request for each."""
        models = self.read_records(("unlearn", key) for key in self.records("unlearn"))
        return {one.key: one for record in models.values() for one in record.sharing}

    # artifacts

    def put_artifact(
        self, kind: str, key: str, files: Mapping[str, bytes], small: Collection[str] = ()
    ) -> dict[str, FileEntry]:
        """Upload a step's output, by file name; returns the entries for its record.

        Every upload has a folder of its own, so that two of one step never mix.

        Args:
            kind, key: the step.
            files: its output.
            small: names of those that the record itself will hold: they cost no request.
        """
        folder = f"{artifact_folder(kind, key)}{uuid.uuid4().hex[:16]}"
        entries: dict[str, FileEntry] = {}
        try:
            for file, data in files.items():
                digest = hashlib.sha256(data).hexdigest()
                if file in small:
                    name, held = record_name(kind, key), base64.b64encode(data).decode()
                    entries[file] = FileEntry(name, len(data), digest, held)
                    continue
                entry = FileEntry(f"{folder}/{file}", len(data), digest)
                self.objects.write(entry.name, data)
                entries[file] = entry
        except StoreError:
            with suppress(StoreError):  # `clean` finds what stays
                self.remove_artifact(entries)
            raise
        return entries

    def remove_artifact(self, files: Mapping[str, FileEntry]) -> None:
        """Remove an upload that no record names."""
        for entry in files.values():
            if entry.data is None:
                self.objects.delete(entry.name)

    def remove_uploads(self, record: Record) -> None:
        """Remove what the steps of a record that does not count have uploaded."""
        for entry in record.uploads:
            self.objects.delete(entry.name)

    def read_artifact(self, record: Record, file: str) -> bytes:
        """One file of a completed step's artifact, verified.

        Raises:
            RemovedArtifact: it was removed on purpose.
            MissingObject: the record names no such file, or the file is gone.
            CorruptObject: it was altered since the upload.
        """
        subject = f"{file} of {record.kind} {record.key}"
        remedy = (
            f"delete {record_name(record.kind, record.key)} from {self.url} and run again:"
            " the step is run again"
        )
        if file not in record.files:
            raise MissingObject(subject, f"its files are {listed(sorted(record.files))}", remedy)
        entry = record.files[file]
        try:
            data = self._content(entry)
        except MissingObject as error:
            self._check_not_removed(record)
            newer = self.record(record.kind, record.key)
            if newer is not None and newer.files != record.files:
                return self.read_artifact(newer, file)  # the step was run again meanwhile
            raise MissingObject(subject, f"no object {entry.name}", remedy) from error
        if len(data) != entry.size:
            reason = f"{entry.name} has {len(data)} bytes, {entry.size} were written"
            raise CorruptObject(subject, reason, remedy)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CorruptObject(subject, f"{entry.name} was altered (SHA-256 differs)", remedy)
        return data

    def removed(self, record: Record) -> Removal | None:
        """What removed files of a completed step on purpose; None if all of them are there."""
        removal = self.removals.of(record.kind, record.key)
        if removal is None:
            return None
        names = {each.name for each in record.files.values() if each.data is None}
        folders = {f"{name.rpartition('/')[0]}/" for name in names}
        there = {name for folder in folders for name in self.objects.names(folder)}
        return removal if names - there else None

    def _content(self, entry: FileEntry) -> bytes:
        if entry.data is None:
            return self.objects.read(entry.name)
        try:
            return base64.b64decode(entry.data, validate=True)
        except binascii.Error:
            return b""  # its digest tells

    def _check_not_removed(self, record: Record) -> None:
        removal = self.removals.of(record.kind, record.key)
        if removal is None:
            return
        raise RemovedArtifact(
            record.kind,
            record.key,
            f"{removal.why} removed it on {removal.created[:10]}; its record and all numbers are"
            " still there",
            f"to have it again: unlearn-ray results {self.url} rerun {record.key} --restore",
        )

    # leases

    def lease(self, key: str, work: Work) -> Lease | None:
        """The right to run a step now; None while another process holds it.

        Never waits. Call again until there is a record or a lease: this instance remembers the
        holder's heartbeats, and takes over when the holder is dead or silent.

        Args:
            key: of the step.
            work: how it appears to other processes.
        """
        return self._leases.take(key, work)

    def free(self, key: str, work: Work) -> bool:
        """Whether nobody runs a step; an abandoned lease is released for any process to take.

        Args:
            key: of the step.
            work: how it appears to other processes.
        """
        return self._leases.free(key, work)

    def start_driver(self, sweep: str) -> Lease:
        """A lease that lives as long as this driver of a sweep; its trials are claimed with it."""
        lease = self.lease(f"{DRIVER}-{uuid.uuid4().hex[:16]}", Work(DRIVER, "driver", sweep))
        assert lease is not None, "the driver's key is random"
        return lease

    def driver_has_ended(self, key: str) -> bool:
        """Whether a driver has ended or fallen silent; call again to keep watching."""
        return self._leases.has_ended(key)

    def claims(self, study: str) -> Claims:
        """The claims of a study: each trial's point, and who runs it."""
        return Claims(self.objects, study, self._reader)

    def holders(self) -> dict[str, Holder]:
        """The last holder of each lease, by key; a step may have been completed since."""
        return self._leases.newest()

    # checkpoints

    def save_checkpoint(self, key: str, iteration: int, data: bytes) -> None:
        """Save what a step needs to resume from `iteration`, replacing older checkpoints."""
        self._checkpointed.add(key)
        checkpoints.save(self.objects, key, iteration, data)

    def latest_checkpoint(self, key: str) -> tuple[int, bytes] | None:
        """Iteration and bytes of the newest intact checkpoint.

        The first holder of a step's lease finds none: that costs it no request.

        Raises:
            CorruptObject: there are checkpoints, but none is intact.
        """
        if self._leases.is_first(key) and not self.has_checkpointed(key):
            return None
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

    def forget_lease(self, key: str) -> None:
        """Remove what is left of a lease that nobody holds."""
        self._leases.remove(key)

    # sweeps

    def write_sweep(self, name: str, data: bytes) -> None:
        """Write or replace the manifest of a sweep."""
        self.objects.write(f"sweeps/{name}.json", data)

    def sweeps(self, parse: Callable[[str, bytes], Parsed]) -> dict[str, Parsed]:
        """The manifests of all sweeps that ran on this store, by name.

        Args:
            parse: reads a manifest from an object's name and bytes; those for which it raises
                CorruptObject are logged and left out.
        """
        return self._listed("sweeps/", _SWEEP, parse)

    def write_sweep_file(self, name: str, key: str, data: bytes) -> None:
        """Write a version of a sweep's file; one of the same content is replaced.

        Args:
            name: of the sweep.
            key: of the version.
            data: the version.
        """
        self.objects.write(f"sweep_files/{name}/{key}.json", data)

    def sweep_files(self, parse: Callable[[str, bytes], Parsed]) -> dict[tuple[str, str], Parsed]:
        """The versions of the files of all sweeps, by the sweep's name and the version's key.

        Args:
            parse: reads a version, as in `sweeps`.
        """
        matches = map(_SWEEP_FILE.fullmatch, self.objects.names("sweep_files/"))
        names = {match[0]: (match[1], match[2]) for match in matches if match is not None}
        found = self._reader.parsed(names, parse)
        return {names[name]: parsed for name, parsed in found.items()}

    # studies

    def write_study(self, likeness: str, key: str, data: bytes) -> None:
        """Write a study's identity, create-if-absent.

        Args:
            likeness: hash that studies share if they differ in code or data alone.
            key: of the study.
            data: its identity.
        """
        self.objects.create(f"studies/{likeness}/{key}.json", data)

    def studies(self, likeness: str) -> dict[str, Any]:
        """The identities of the studies of a likeness, by key."""
        return self._listed(f"studies/{likeness}/", _STUDY, _identity_of_a_study)

    def study_identities(self, keys: Collection[str]) -> dict[str, Any]:
        """The identities of these studies, by key; those that the store holds."""
        return self._listed("studies/", _STUDY, _identity_of_a_study, keys)

    def _listed(
        self,
        prefix: str,
        pattern: re.Pattern[str],
        parse: Callable[[str, bytes], Parsed],
        wanted: Collection[str] | None = None,
    ) -> dict[str, Parsed]:
        """The parsed objects whose names match, by the pattern's group; of `wanted` groups."""
        matches = map(pattern.fullmatch, self.objects.names(prefix))
        names = {
            match[0]: match[1]
            for match in matches
            if match is not None and (wanted is None or match[1] in wanted)
        }
        found = self._reader.parsed(names, parse)
        return {names[name]: parsed for name, parsed in found.items()}

    # rows

    @cached_property
    def _rows(self) -> Rows:
        from unlearn_ray.storage.tables import Rows  # pyarrow: imported only if rows are used

        return Rows(self.objects, self._reader)

    def note(self, errors: Iterable[StoreError]) -> None:
        """Log what is wrong with objects, once each."""
        self._reader.note(errors)

    def write_row(self, name: str, row: Mapping[str, Scalar]) -> bool:
        """Write one row of the result table, permanently; one request.

        Returns:
            False if a row of this name existed, which stays. A merged one is not noticed: then the
            answer is True, and the merged one stays all the same.
        """
        return self._rows.write(name, row)

    def extend_row(
        self, name: str, columns: Mapping[str, Scalar], anew: Collection[str] = ()
    ) -> None:
        """Add those of `columns` that a row lacks; existing values stay.

        Args:
            name: the row's name.
            columns: values by column; null is ignored.
            anew: those that replace existing values.

        Raises:
            MissingObject: there is no such row.
        """
        self._rows.extend(name, columns, anew)

    def read_rows(
        self, *prefixes: str, columns: Columns = (), sweep: str | None = None
    ) -> pa.Table:
        """All rows, with their names in the column `row`.

        Args:
            prefixes: only rows whose name starts with one of these.
            columns: only those of these that exist, or of whose name it says so: that is faster.
            sweep: only the rows of this one, whose column must then be among them.
        """
        return self._rows.read(prefixes or ("",), columns, sweep)

    def row_parts(self) -> RowParts:
        """All rows as they are now, whose columns are read when they are asked for."""
        return self._rows.parts()

    def row(self, name: str) -> dict[str, Scalar] | None:
        """One row by name, without the column `row`; None if there is none."""
        return self._rows.get(name)

    def rows(self, names: Collection[str]) -> dict[str, dict[str, Scalar]]:
        """Those of these rows that exist, by name, without unmerged additions."""
        return self._rows.get_all(names)

    def compact(self, names: Collection[str] | Mapping[str, Written] | None = None) -> int | None:
        """Merge small files of rows into one; returns how many.

        One process does so at a time. While another does, this one waits until that one has ended
        or shows a heartbeat, which takes less than half of `lease_seconds`.

        Args:
            names: only these rows. As a mapping, to each row as it was written, which saves
                reading it, or to None.

        Returns:
            None if another process merges rows, and these may not be among them.
        """
        lease = self._leases.await_end(_COMPACTION, Work(_COMPACTION))
        if lease is None:
            return None
        try:
            return self._rows.compact(names)
        finally:
            lease.finish()

    def take_rows(self, other: Store, names: Collection[str]) -> None:
        """Copy rows of another store that this one lacks, by name."""
        self._rows.take(other._rows, names)

    def damaged_rows(self) -> set[str]:
        """The names of the files of rows that cannot be read."""
        return self._rows.damaged()

    def remove_rows(self, names: Collection[str]) -> None:
        """Remove rows for good, which nobody may write or extend meanwhile.

        Raises:
            StoreError: another process merges rows.
        """
        lease = self._leases.await_end(_COMPACTION, Work(_COMPACTION))
        if lease is None:
            reason = "another process is merging its rows"
            raise StoreError(f"store {self.url}", reason, "run the command again")
        try:
            self._rows.remove(names)
        finally:
            lease.finish()


def _identity_of_a_study(name: str, data: bytes) -> Any:
    """A study's identity, which its key hashes."""
    try:
        identity = json_value(data)
        intact = content_key(identity) == name.rpartition("/")[2].removesuffix(".json")
    except (ValueError, TypeError):
        intact = False
    if not intact:
        remedy = "delete that object; a sweep writes it again"
        raise CorruptObject(f"object {name}", "it was altered", remedy)
    return identity
