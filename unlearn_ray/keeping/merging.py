"""`merge`: copies another store's records, artifacts and rows into a store.

Steps and rows are named by what they are, so the same name means the same work. If both stores did
it and found other numbers, no order of copying makes one store of them: nothing is copied.

Each record is copied after its artifact, whose digests are checked, and rows after all records. So,
killed half-way, the store holds complete steps and perhaps an upload without a record, which
`clean` finds; the next call copies the rest.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
        theirs, mine = (_steps(one) for one in (other, store))
        rows = _Rows(store, other)
        _check_agreement(store, other, theirs & mine, rows)
        size = 0
        lacking = iter(sorted(theirs - mine))
        while several := list(islice(lacking, _AT_A_TIME)):
            lease.check()
            records = other.read_records(several).values()
            with ThreadPoolExecutor(_COPIES) as pool:
                size += sum(pool.map(lambda record: _copy(record, store, other), records))
        lease.check()
        for folder in _BY_NAME:
            _copy_named(other.objects.names(folder), store, other)
        _copy_claims(store, other)
        done = _steps(store)
        failed = {(kind, key) for key, kind in other.failures.kinds().items()} - done
        _copy_named([failure_name(*step) for step in failed], store, other)
        store.take_rows(other, rows.lacking)
        for name, columns in rows.extensions.items():
            store.extend_row(name, columns)
        # Last: they say what there is to be seen.
        sweeps = _copy_manifests(store, other)
    return Merged(len(theirs - mine), len(rows.lacking), size, len(rows.extensions), sweeps)


def _steps(store: Store) -> set[Step]:
    return {(kind, key) for key, kind in store.kinds().items()}


def _copy(record: Record, store: Store, other: Store) -> int:
    """Copy a step; returns the size of its artifact."""
    step, size = (record.kind, record.key), 0
    try:
        for file, entry in record.files.items():
            store.objects.write(entry.name, other.read_artifact(record, file))
            size += entry.size
    except RemovedArtifact:
        removal = other.removals.of(*step)
        store.removals.announce([step], removal.why if removal else "gc")
    name = record_name(*step)
    if other.record(*step) != record:
        store.remove_artifact(record.files)
        reason = f"{record.kind} {record.key} was run again there meanwhile"
        raise StoreError(f"store {other.url}", reason, "run the command again")
    if not store.objects.create(name, other.objects.read(name)):
        # A sweep that runs on the store was quicker.
        written = store.record(*step)
        if written is not None and written.files != record.files:
            store.remove_artifact(record.files)
    return size


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


def _check_agreement(store: Store, other: Store, both: Collection[Step], rows: _Rows) -> None:
    unequal = [*_unequal_steps(store, other, sorted(both)), *(f"row {n}" for n in rows.unequal)]
    if unequal:
        raise BadInput(
            f"store {other.url}",
            f"both stores ran {listed(unequal)}, and their numbers differ",
            "nothing was copied; remove the sweep from one of them (rm), and run it again on the"
            " merged store",
        )


def _unequal_steps(store: Store, other: Store, both: Sequence[Step]) -> Iterator[str]:
    for start in range(0, len(both), _AT_A_TIME):
        several = both[start : start + _AT_A_TIME]
        mine, theirs = (one.read_records(several) for one in (store, other))
        for key in sorted(mine.keys() & theirs.keys()):
            if _said(mine[key]) != _said(theirs[key]):
                yield f"{mine[key].kind} {key}"


def _said(record: Record) -> tuple[Any, ...]:
    """What a record says that others depend on: not its loss curves, which older ones lack."""
    files = {
        file: (entry.size, entry.sha256) for file, entry in record.files.items() if file != CURVES
    }
    result = {name: value for name, value in record.result.items() if name not in _OF_A_STEP}
    return files, repr(sorted(result.items()))
