"""`merge`: copies another store's records, artifacts and rows into a store.

Steps and rows are named by what they are, so the same name means the same work. If both stores did
it and found other numbers, no order of copying makes one store of them: nothing is copied.

Each record is copied after its artifact, whose digests are checked, and rows after all records. So,
killed half-way, the store holds complete steps and perhaps an upload without a record, which
`clean` finds; the next call copies the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from unlearn_ray.core.errors import BadInput, RemovedArtifact, StoreError, listed
from unlearn_ray.keeping.collection import kept_alone
from unlearn_ray.monitor.manifest import manifests
from unlearn_ray.storage.curves import CURVES
from unlearn_ray.storage.objects import THREADS
from unlearn_ray.storage.records import record_name
from unlearn_ray.storage.step_failures import failure_name
from unlearn_ray.storage.store import Record, Store

# Each holds an artifact in memory.
_COPIES = 4
_AT_A_TIME = 500
# What these hold determines their names.
_BY_NAME = ("sweep_files/", "studies/")
_CLAIMS = "claims/"
# What a step and a row say of their machine and their time, on which no number depends.
_OF_A_STEP = {"compute_seconds", "device", "gpu_bytes", "kernels", "threads"}
_OF_A_ROW = {
    *("created", "host", "device", "threads", "kernels", "made_on"),
    *("unlearning_compute_seconds", "retraining_compute_seconds", "evaluation_seconds"),
    *("accelerator_hours_unlearn", "accelerator_hours_measure"),
}
_VERSION = "version_"

Step = tuple[str, str]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """What was copied.

    Attributes:
        steps, rows: how many.
        bytes: of artifacts.
        extended: rows that got columns which they lacked.
        sweeps: the names of those whose manifest was copied.
    """

    steps: int
    rows: int
    bytes: int
    extended: int
    sweeps: tuple[str, ...]


def merge(store: Store, other: Store) -> Merged:
    """Copy what `other` holds and `store` lacks.

    Args:
        store: the store that grows; sweeps may run on it.
        other: the store that is read.

    Raises:
        BadInput: both are one store, or they disagree on a number.
        StoreError: either fails, an artifact was altered, or another process removes or merges.
    """
    if store.url == other.url:
        raise BadInput(f"store {other.url}", "it is the same store", "name another one")
    with kept_alone(store, f"merge of {other.url}") as lease:
        theirs, mine = _Steps.of(other), _Steps.of(store)
        rows = _Rows(store, other)
        _check_agreement(theirs, mine, rows)
        size = 0
        lacking = iter(sorted(theirs.own - mine.all))
        apart = dict(theirs.sharing)
        while several := list(islice(lacking, _AT_A_TIME)):
            lease.check()
            records = other.read_records(several).values()
            for one in (each for record in records for each in record.along):
                apart.pop(one.key, None)
            with ThreadPoolExecutor(_COPIES) as pool:
                size += sum(pool.map(lambda record: _copy(record, store, other), records))
        lease.check()
        for record in apart.values():
            if (record.kind, record.key) not in mine.all:
                size += _copy_apart(record, store, other)
        lease.check()
        for folder in _BY_NAME:
            _copy_named(other.objects.names(folder), store, other)
        _copy_claims(store, other)
        failures = {(kind, key) for key, kind in other.failures.kinds().items()}
        failed = failures - _Steps.of(store).all
        _copy_named([failure_name(*step) for step in failed], store, other)
        store.take_rows(other, rows.lacking)
        for name, columns in rows.extensions.items():
            store.extend_row(name, columns)
        # Last: they say what there is to be seen.
        sweeps = _copy_manifests(store, other)
    return Merged(len(theirs.all - mine.all), len(rows.lacking), size, len(rows.extensions), sweeps)


@dataclass(frozen=True)
class _Steps:
    """The completed steps of a store.

    Attributes:
        store: that has them.
        own: those with a record of their own.
        sharing: the records of those that share one, by key.
    """

    store: Store
    own: frozenset[Step]
    sharing: Mapping[str, Record]

    @classmethod
    def of(cls, store: Store) -> _Steps:
        own = frozenset((kind, key) for key, kind in store.kinds().items())
        return cls(store, own, store.sharing())

    @property
    def all(self) -> frozenset[Step]:
        return self.own | {(record.kind, record.key) for record in self.sharing.values()}

    def records(self, steps: Sequence[Step]) -> dict[str, Record]:
        """The records of some, by key."""
        shared = {key: self.sharing[key] for _, key in steps if key in self.sharing}
        return shared | self.store.read_records(step for step in steps if step in self.own)


def _copy(record: Record, store: Store, other: Store) -> int:
    """Copy a step; returns the size of its artifact."""
    step, size = (record.kind, record.key), 0
    for one in (record, *record.sharing):
        try:
            for file, entry in one.files.items():
                if entry.data is None:
                    store.objects.write(entry.name, other.read_artifact(one, file))
                    size += entry.size
        except RemovedArtifact:
            _announce(one, store, other)
    name = record_name(*step)
    if other.record(*step) != record:
        store.remove_uploads(record)
        reason = f"{record.kind} {record.key} was run again there meanwhile"
        raise StoreError(f"store {other.url}", reason, "run the command again")
    if not store.objects.create(name, other.objects.read(name)):
        # A sweep that runs on the store was quicker.
        written = store.record(*step)
        if written is not None and written.files != record.files:
            store.remove_uploads(record)
    return size


def _copy_apart(record: Record, store: Store, other: Store) -> int:
    """Copy a step that shares a record there, whose own step is known here without it.

    It gets a record of its own; returns the size of its artifact.
    """
    files: dict[str, bytes] = {}
    try:
        files = {file: other.read_artifact(record, file) for file in record.files}
    except RemovedArtifact:
        return 0  # a number of it stays in its row; it is computed again where it is needed
    small = [file for file, entry in record.files.items() if entry.data is not None]
    entries = store.put_artifact(record.kind, record.key, files, small)
    if not store.complete(replace(record, files=entries)):
        store.remove_artifact(entries)
    return sum(entry.size for entry in entries.values() if entry.data is None)


def _announce(record: Record, store: Store, other: Store) -> None:
    removal = other.removals.of(record.kind, record.key)
    store.removals.announce([(record.kind, record.key)], removal.why if removal else "gc")


def _copy_named(names: Iterable[str], store: Store, other: Store) -> None:
    def one(name: str) -> None:
        store.objects.create(name, other.objects.read(name))

    there = {name for folder in _BY_NAME for name in store.objects.names(folder)}
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, [name for name in names if name not in there]))


def _copy_claims(store: Store, other: Store) -> None:
    """Copy the claims of trials that have none: the first one fixes a trial's point."""
    claimed = {_trial_of(name) for name in store.objects.names(_CLAIMS)}
    theirs = other.objects.names(_CLAIMS)
    _copy_named([name for name in theirs if _trial_of(name) not in claimed], store, other)


def _trial_of(claim: str) -> str:
    """The part of a claim's name that says which trial it is of: the rest is its generation."""
    return claim.removesuffix(".json").rpartition(".")[0]


def _copy_manifests(store: Store, other: Store) -> tuple[str, ...]:
    """Of two manifests of one sweep, the one that was started last counts, as on one store."""
    mine = manifests(store)
    copied = [
        name
        for name, manifest in manifests(other).items()
        if name not in mine or mine[name].started < manifest.started
    ]
    for name in copied:
        store.write_sweep(name, other.objects.read(f"sweeps/{name}.json"))
    return tuple(sorted(copied))


class _Rows:
    """The rows of two stores.

    Attributes:
        lacking: names of those that only the other one has.
        extensions: columns that only the other one has, by the name of a row of both.
        unequal: names of rows that disagree.
    """

    def __init__(self, store: Store, other: Store) -> None:
        theirs = other.read_rows()
        present = set(store.read_rows(columns=("row",))["row"].to_pylist())
        names = theirs["row"].to_pylist()
        self.lacking = {name for name in names if name not in present}
        self.extensions: dict[str, dict[str, Any]] = {}
        self.unequal: list[str] = []
        both = [position for position, name in enumerate(names) if name in present]
        if not both:
            return
        mine = {row["row"]: row for row in store.read_rows().to_pylist()}
        for row in theirs.take(both).to_pylist():
            self._compare(mine[row["row"]], row)

    def _compare(self, mine: Row, theirs: Row) -> None:
        name = theirs["row"]
        more: dict[str, Any] = {}
        for column, value in theirs.items():
            own = mine.get(column)
            if value is not None and own is None:
                more[column] = value
            elif value is not None and not _is_beside(column) and not _same(own, value):
                self.unequal.append(name)
                return
        if more:
            self.extensions[name] = more


def _is_beside(column: str) -> bool:
    return column in _OF_A_ROW or column.startswith(_VERSION)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def _check_agreement(theirs: _Steps, mine: _Steps, rows: _Rows) -> None:
    unequal = [*_unequal_steps(theirs, mine), *(f"row {name}" for name in rows.unequal)]
    if unequal:
        raise BadInput(
            f"store {theirs.store.url}",
            f"both stores ran {listed(unequal)}, and their numbers differ",
            "nothing was copied; remove the sweep from one of them (rm), and run it again on the"
            " merged store",
        )


def _unequal_steps(theirs: _Steps, mine: _Steps) -> Iterator[str]:
    both = sorted(theirs.all & mine.all)
    for start in range(0, len(both), _AT_A_TIME):
        several = both[start : start + _AT_A_TIME]
        one, other = mine.records(several), theirs.records(several)
        for key in sorted(one.keys() & other.keys()):
            if _said(one[key]) != _said(other[key]):
                yield f"{one[key].kind} {key}"


def _said(record: Record) -> tuple[Any, ...]:
    """What a record says that others depend on: not its loss curves, which older ones lack."""
    files = {
        file: (entry.size, entry.sha256) for file, entry in record.files.items() if file != CURVES
    }
    result = {name: value for name, value in record.result.items() if name not in _OF_A_STEP}
    return files, repr(sorted(result.items()))
