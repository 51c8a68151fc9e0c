"""`Holdings`: what a store holds, and who refers to it.

A sweep refers to the steps of its reference models (its manifest names them), to the steps that its
rows name and those of the trials of its studies, whichever sweep ran them, to those of its trials
that are under way, and to the inputs of all of these.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unlearn_ray.core.errors import CorruptObject, StoreError, listed
from unlearn_ray.monitor.manifest import Manifest, manifests
from unlearn_ray.storage.objects import Entry
from unlearn_ray.storage.records import record_name
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.history import Row

ARTIFACTS = "artifacts/"
MANIFESTS = "sweeps/"
_MANIFEST = re.compile(rf"{MANIFESTS}[A-Za-z0-9][A-Za-z0-9._-]*\.json")
_AT_A_TIME = 2000
# Columns of rows that hold keys of steps, and those that say which trial a row is of.
_KEYS = ("key_unlearn", "key_original", "key_retrained")
_MORE_KEYS = ("key_measure_", "key_score_")

Step = tuple[str, str]


@dataclass(frozen=True)
class Kept:
    """What keeping needs to know of a record.

    Attributes:
        kind, key: the step.
        inputs: keys of its inputs.
        files: sizes by object name.
        names: of its files.
        quantity: that it observed; "" of other kinds.
        sweep, row: that it was run for.
        along: the key of the step whose record it shares; "" if it has one of its own.
    """

    kind: str
    key: str
    inputs: tuple[str, ...]
    files: Mapping[str, int]
    names: tuple[str, ...]
    quantity: str
    sweep: str
    row: str
    along: str = ""

    @property
    def step(self) -> Step:
        """Kind and key."""
        return self.kind, self.key


@dataclass(frozen=True)
class Holdings:
    """What a store held when it was read.

    Attributes:
        manifests: of its sweeps, by name, the last started first.
        rows: with the columns that keys, states and scores are in.
        records: by key.
        entries: the objects of artifacts, by name.
        unread: the objects of manifests and records that cannot be read.
    """

    manifests: Mapping[str, Manifest]
    rows: Sequence[Row]
    records: Mapping[str, Kept]
    entries: Mapping[str, Entry]
    unread: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: Store) -> Holdings:
        """Read a store: a request for every record and manifest, and those for its rows.

        Raises:
            StoreError: it cannot be read.
        """
        # What appears meanwhile is younger than the rows that are read last.
        entries = {entry.name: entry for entry in store.objects.entries(ARTIFACTS)}
        kinds = store.kinds()
        records: dict[str, Kept] = {}
        for record in _records(store, kinds):
            if not record.along or record.key not in kinds:
                records[record.key] = record
        told = manifests(store)
        unread = {record_name(kind, key) for key, kind in kinds.items() if key not in records}
        # A sync tool's conflict copies do not match.
        named = filter(_MANIFEST.fullmatch, store.objects.names(MANIFESTS))
        unread |= set(named) - {f"{MANIFESTS}{name}.json" for name in told}
        return cls(told, _rows(store), records, entries, frozenset(unread))

    def check_whole(self, store: Store, running: Collection[str]) -> None:
        """Refuse to go on where it is unknown what something needs.

        Args:
            store: that was read.
            running: the sweeps that run on it.

        Raises:
            CorruptObject: a manifest, a record or a file of rows cannot be read.
            StoreError: a sweep runs that has no manifest.
        """
        unread = self.unread | store.damaged_rows()
        if unread:
            raise CorruptObject(
                f"store {store.url}",
                f"{listed(sorted(unread))} cannot be read, so what they need is unknown",
                "delete these objects, or mend them",
            )
        untold = {*running} - self.manifests.keys()
        if untold:
            raise StoreError(
                f"store {store.url}",
                f"{listed(sorted(untold))} runs and has no manifest, so what it needs is unknown",
                "run its command again, which writes one, or wait for its end",
            )

    @cached_property
    def sweeps(self) -> tuple[str, ...]:
        """The names of all sweeps that have a manifest or a row, the last started first."""
        return tuple(dict.fromkeys((*self.manifests, *sorted({r["sweep"] for r in self.rows}))))

    @cached_property
    def row_names(self) -> frozenset[str]:
        """The names of all rows."""
        return frozenset(row["row"] for row in self.rows)

    @cached_property
    def references(self) -> Mapping[str, frozenset[str]]:
        """The keys of the steps that each sweep refers to."""
        return {name: self.closure(self._roots(name)) for name in self.sweeps}

    @cached_property
    def rows_of(self) -> Mapping[str, list[Row]]:
        """The rows of each sweep."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row["sweep"]].append(row)
        return found

    def under_way(self) -> Iterator[Kept]:
        """Steps of trials whose row is still to be written, of studies that a sweep wants."""
        studies = {study.key for one in self.manifests.values() for study in one.studies}
        for record in self.records.values():
            study = record.row.partition("/")[0]
            if record.row and record.row not in self.row_names and study in studies:
                yield record

    def closure(self, keys: Iterable[str]) -> frozenset[str]:
        """The steps of these keys, and their inputs, and so on."""
        found: set[str] = set()
        left = [key for key in keys if key in self.records]
        while left:
            key = left.pop()
            if key not in found:
                found.add(key)
                left += [each for each in self.records[key].inputs if each in self.records]
        return frozenset(found)

    def descendants(self, keys: Collection[str]) -> frozenset[str]:
        """The steps of these keys, and all that have one of them as an input, and so on."""
        readers: defaultdict[str, list[str]] = defaultdict(list)
        for record in self.records.values():
            for each in record.inputs:
                readers[each].append(record.key)
        found: set[str] = set()
        left = list(keys)
        while left:
            key = left.pop()
            if key not in found:
                found.add(key)
                left += readers[key]
        return frozenset(found)

    def present(self, record: Kept) -> list[Entry]:
        """The files of a record that are in the store."""
        return [self.entries[name] for name in record.files if name in self.entries]

    @cached_property
    def _tuning_rows(self) -> Mapping[str, list[Row]]:
        """The rows of each study's trials, whichever sweep ran them."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row["purpose"] == "tuning":
                found[row["study_key"]].append(row)
        return found

    def _roots(self, sweep: str) -> Iterator[str]:
        manifest = self.manifests.get(sweep)
        if manifest is not None:
            yield from (wanted.key for wanted in manifest.references)
            for study in manifest.studies:
                for row in self._tuning_rows.get(study.key, ()):
                    if row["trial"] < study.trials:
                        yield from keys_in(row)
        for row in self.rows_of.get(sweep, ()):
            yield from keys_in(row)
        yield from (record.key for record in self.under_way() if record.sweep == sweep)


def keys_in(row: Row) -> Iterator[str]:
    """The keys of the steps that a row names."""
    for column, value in row.items():
        if value and (column in _KEYS or column.startswith(_MORE_KEYS)):
            yield str(value)


def _records(store: Store, kinds: Mapping[str, str]) -> Iterator[Kept]:
    steps = iter([(kind, key) for key, kind in kinds.items()])
    while several := list(itertools.islice(steps, _AT_A_TIME)):
        # As much of each as is needed: a store may have a million of them.
        for record in store.read_records(several).values():
            yield _kept(record)
            yield from (_kept(one, record.key) for one in record.sharing)


def _kept(record: Record, along: str = "") -> Kept:
    quantity = record.config.get("quantity")
    return Kept(
        kind=record.kind,
        key=record.key,
        inputs=tuple(record.inputs.values()),
        files={each.name: each.size for each in record.files.values() if each.data is None},
        names=tuple(record.files),
        quantity=str(quantity.get("name", "")) if isinstance(quantity, dict) else "",
        sweep=record.sweep,
        row=record.row,
        along=along,
    )


def _rows(store: Store) -> list[dict[str, Any]]:
    from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES
    from unlearn_ray.studies.stored_rows import read_rows

    wanted = {
        *("row", "sweep", "study_key", "purpose", "study", "trial", "point", "seed", "state"),
        *("failure", "created", "score", *FURTHER_SCORES, *EXCESSES, *_KEYS),
    }
    table = read_rows(store)
    columns = [name for name in table.column_names if name in wanted or name.startswith(_MORE_KEYS)]
    rows: list[dict[str, Any]] = table.select(columns).to_pylist()
    return rows
