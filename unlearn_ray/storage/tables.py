"""Rows: each trial and seed is a Parquet file of one row, named by its key.

The file of a row is immutable, and a row is never withdrawn: it may only grow, by additions in
files of their own (`row_versions` says how they combine). So writers need no coordination, and
neither do compactors, each of which

1. reads small files, then all compacted files;
2. writes their combined content as one new compacted file, under a unique name;
3. deletes every file it read whose content is in the new one.

Whatever runs concurrently, and wherever a process is suspended or dies, no row is lost or reverted:

- Every deletion follows a write that contains everything deleted, and no name of a compacted file
  is used twice. So of the compacted files that hold a row in some version or a newer one, the last
  one written is never deleted: a process that deletes it has written a later one that holds the
  row, too. What has once been in a compacted file therefore stays in one. (If they were named by
  their content, two compactors that write the same rows in different bytes could each delete the
  other's file.)
- The content of a small file is in a compacted file before it is deleted, and merged rows win: once
  it is gone, a file written again under its name does not count, whether by a writer unaware of
  the row, an extender that saw an old state, or a delayed request. So a stale compactor may delete
  that file as well.
- A stale compactor writes old versions. They lose to the higher ones already in the store, and so
  does an addition with a version that was merged: its extender, which checks the compacted files
  after its write, finds another addition in its place and adds again.
- A compactor merges an addition only after all older ones, so that a row's version determines its
  content. It leaves an addition whose predecessor it has not seen.
- A reader lists and reads the small files first, and only then the compacted ones: whatever
  vanished in between is in those. A folder listing is no snapshot, and may show neither the
  replaced file nor the new one: compacted files are listed until no new one appears.

That one process compacts at a time (`Store.compact` takes a lease) only saves work.

An unreadable file is logged, left in place, and ignored by readers and compactors.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unlearn_ray.core.errors import CorruptObject, MissingObject, StoreError
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.row_parts import RowParts
from unlearn_ray.storage.row_tables import (
    NAME,
    SOURCE,
    VERSION,
    Columns,
    from_bytes,
    of_sweep,
    to_bytes,
)
from unlearn_ray.storage.row_versions import (
    COMPACTED,
    SMALL,
    SUFFIX,
    Pile,
    is_rows_file,
    object_name,
    row_of,
)
from unlearn_ray.storage.stored import Reader

Scalar = bool | int | float | str | None
# A row as its writer has written it; None if that is unknown.
Written = Mapping[str, Scalar] | None

_ATTEMPTS = 20
_ATTEMPT_SECONDS = 0.01
_ALL = ("",)
# Small files in memory at a time; a table takes 20 KB even for one row, so only a few of those.
_READ_AT_A_TIME = 2000
_PARSED_AT_A_TIME = 250
_INTEGERS = range(-(2**63), 2**63)

# The table of each existing file; None if it cannot be read.
_Found = dict[str, "pa.Table | None"]


class Rows:
    """The rows of a store.

    Args:
        objects: the store's.
        reader: logs unreadable files; the store's, or one of its own if not given.
    """

    def __init__(self, objects: ObjectStore, reader: Reader | None = None) -> None:
        self._objects = objects
        self._reader = reader or Reader(objects)
        # Compacted files: looking up row after row reads each of them once.
        self._names: dict[str, pa.ChunkedArray] = {}

    def write(self, name: str, row: Mapping[str, Scalar]) -> bool:
        """Write the row `name`, create-if-absent; column types follow the values.

        One request. An existing row that has been merged is not noticed: the answer is then True,
        and the merged row stays all the same.

        Returns:
            False if another row of this name existed, which stays.

        Raises:
            ValueError: a column has a reserved name.
        """
        _check(row)
        return self._objects.create(object_name(name), _file(name, 1, row))

    def extend(self, name: str, columns: Mapping[str, Scalar], anew: Collection[str] = ()) -> None:
        """Add those of `columns` that the row `name` lacks; existing values stay.

        Six requests if nobody else extends the row, and four if it lacks nothing.

        Args:
            name: the row's name.
            columns: values by column; null is ignored.
            anew: those that replace existing values.

        Raises:
            MissingObject: there is no such row.
            ValueError: a column has a reserved name.
        """
        _check(columns)
        columns = _storable(columns)
        for attempt in range(_ATTEMPTS):
            time.sleep(attempt * _ATTEMPT_SECONDS)
            row, compacted = self._find(name)
            if row is None:
                raise MissingObject(
                    f"row {name} of {self._objects.url}",
                    "no such row was written",
                    "check that this is the store it was written to",
                )
            lacking = {
                column: value
                for column, value in columns.items()
                if value is not None
                and (row.get(column) is None or (column in anew and _differ(row[column], value)))
            }
            if not lacking:
                return
            version = row[VERSION] + 1
            data = _file(name, version, lacking)
            if not self._objects.create(object_name(name, version), data):
                continue
            if compacted >= set(self._names_of(COMPACTED)):
                return  # no other addition of this version was merged before
        raise StoreError(f"row {name}", "other processes keep adding to it", "try again later")

    def get(self, name: str) -> dict[str, Scalar] | None:
        """The row `name`, or None if there is none; four requests, unless it was compacted."""
        row, _ = self._find(name)
        if row is None:
            return None
        return {column: value for column, value in row.items() if column not in (NAME, VERSION)}

    def get_all(self, names: Collection[str]) -> dict[str, dict[str, Scalar]]:
        """Those of the rows `names` that exist, without unmerged additions.

        One request per row and two for all, unless rows were compacted since the last call.
        """
        pile = Pile(tuple(names))
        self._add_small(pile, self._reader.present(map(object_name, names)))
        pile.add(_sound(self._compacted(lambda files: self._tables_with(names, files))))
        rows = {row[NAME]: row for row in pile.merged()[0].drop([VERSION]).to_pylist()}
        return {name: rows[name] for name in names if name in rows}

    def read(
        self, prefixes: tuple[str, ...] = _ALL, columns: Columns = (), sweep: str | None = None
    ) -> pa.Table:
        """All rows whose name starts with one of `prefixes`: the union of their columns, by name.

        A column of ints and floats becomes float; one that mixes other types becomes text; rows
        without a column have null. `row` holds the name.

        Args:
            prefixes: any strings.
            columns: only those of these that exist, and `row`; all if none is named. Or what says
                of a name whether that column is read.
            sweep: only the rows of this one, whose column must then be among them.
        """
        pile = Pile(prefixes)
        names = {name for prefix in prefixes for name in self._names_of(SMALL + prefix)}
        for block in _blocks(sorted(names), _READ_AT_A_TIME):
            self._add_small(pile, self._reader.present(block), columns)
        # Additions are left whole: where their rows are left out, they wait, as before any row.
        pile.add(_sound(self._compacted(lambda names: self._tables(names, columns, sweep))))
        table = pile.merged()[0].drop([VERSION])
        return table if sweep is None else table.filter(of_sweep(table, sweep))

    def parts(self) -> RowParts:
        """All rows as they are now; columns are read later, without further requests."""
        small: dict[str, pa.Table] = {}
        for block in _blocks(sorted(self._names_of(SMALL)), _READ_AT_A_TIME):
            small |= self._parsed(self._reader.present(block))
        merged: dict[str, bytes] = {}

        def kept(name: str, data: bytes) -> pa.Table:
            table = self._table(name, data, lambda _: False)
            merged[name] = data
            return table

        def read(names: Sequence[str]) -> _Found:
            sound, damaged = self._reader.sorted_out(names, kept, most=None)
            return {**sound, **dict.fromkeys(damaged)}

        found = self._compacted(read)
        return RowParts(small, {name: merged[name] for name in _sound(found)}, self._table)

    def compact(self, names: Collection[str] | Mapping[str, Written] | None = None) -> int:
        """Merge small files into one and remove them; returns how many.

        Safe against a crash at any point, and concurrently with any other process.

        Args:
            names: the rows' names; all if not given. As a mapping, to each row as it was written,
                which saves reading it, or to None.
        """
        small = self._names_of(SMALL)
        written: dict[str, Mapping[str, Scalar]] = {}
        if names is not None:
            small = [name for name in small if row_of(name) in names]
            if isinstance(names, Mapping):
                written = {object_name(name): row for name, row in names.items() if row is not None}
        # Even without small files, a crash may have left several compacted ones.
        blocks = list(_blocks(small, _READ_AT_A_TIME)) or [[]]
        return sum(self._compact(block, written) for block in blocks)

    def take(self, other: Rows, names: Collection[str]) -> None:
        """Copy rows of another store, with all their additions, as one compacted file.

        Args:
            other: the other store's rows.
            names: of rows that this store lacks.
        """
        pile = Pile()
        for block in _blocks(sorted(other._names_of(SMALL)), _READ_AT_A_TIME):
            other._add_small(pile, other._reader.present(block))
        pile.add(_sound(other._compacted(other._tables)))
        table = _among(pile.merged()[0], names)
        if table.num_rows:
            self._write_compacted(table)

    def remove(self, names: Collection[str]) -> None:
        """Remove rows for good; nobody may write or extend these, or compact any, meanwhile.

        Killed half-way, it leaves some of them.
        """
        wanted = set(names)
        small = [name for name in self._names_of(SMALL) if row_of(name) in wanted]
        # First: an addition that outlives its row would become part of the next of that name.
        self._delete(name for name in small if not name.endswith(SUFFIX))
        compacted = _sound(self._compacted(self._tables))
        if any(_among(table, names).num_rows for table in compacted.values()):
            pile = Pile()
            pile.add(compacted)
            kept = _among(pile.merged()[0], names, absent=True)
            if kept.num_rows:
                self._write_compacted(kept)
            self._delete(compacted)
        self._delete(name for name in small if name.endswith(SUFFIX))

    def damaged(self) -> set[str]:
        """The names of files that are there and cannot be read."""
        names = [*self._names_of(SMALL), *self._names_of(COMPACTED)]
        return self._reader.sorted_out(names, self._table, most=None)[1]

    def _write_compacted(self, table: pa.Table) -> None:
        self._objects.write(f"{COMPACTED}{uuid.uuid4().hex}{SUFFIX}", to_bytes(table))

    def _delete(self, names: Iterable[str]) -> None:
        self._objects.delete_all(list(names))

    def _compact(self, names: Sequence[str], written: Mapping[str, Mapping[str, Scalar]]) -> int:
        known = [name for name in names if name in written]
        small = self._reader.present(name for name in names if name not in written)
        if not (small or known) and len(self._names_of(COMPACTED)) < 2:
            return 0
        pile = Pile()
        read = self._add_small(pile, small) + known
        for block in _blocks(known, _PARSED_AT_A_TIME):
            pile.add({name: _table_of(row_of(name), 1, written[name]) for name in block})
        compacted = _sound(self._compacted(self._tables))
        pile.add(compacted)
        table, waiting = pile.merged()
        done = [name for name in read if name not in waiting]
        if not done and len(compacted) < 2:
            return 0
        self._write_compacted(table)
        self._delete([*compacted, *done])
        return len(done)

    def _find(self, name: str) -> tuple[dict[str, Any] | None, set[str]]:
        """The row `name` with its version, and the compacted files that were searched."""
        pile = Pile((name,))
        self._add_small(pile, self._reader.present(self._names_of(SMALL + name)))
        compacted = self._compacted(lambda files: self._tables_with([name], files))
        for gone in [file for file in list(self._names) if file not in compacted]:
            self._names.pop(gone, None)
        pile.add(_sound(compacted))
        table = pile.merged()[0]
        rows = table.filter(pc.equal(table[NAME], name)).to_pylist()
        return rows[0] if rows else None, set(compacted)

    def _names_of(self, prefix: str) -> list[str]:
        return list(filter(is_rows_file, self._objects.names(prefix)))

    def _compacted(self, read: Callable[[Sequence[str]], _Found]) -> _Found:
        """What `read` gives of every compacted file, by object name."""
        found: _Found = {}
        for attempt in range(_ATTEMPTS):
            time.sleep(attempt * _ATTEMPT_SECONDS)
            names = self._names_of(COMPACTED)
            found |= read([name for name in names if name not in found])
            # A file that vanished was replaced by one that is new here.
            if found.keys() >= set(self._names_of(COMPACTED)):
                return found
        raise StoreError("rows", "they are being compacted continually", "try again later")

    def _tables(
        self, names: Sequence[str], columns: Columns = (), sweep: str | None = None
    ) -> _Found:
        """The tables of the existing files, by object name."""
        sound, damaged = self._reader.sorted_out(
            names, lambda name, data: self._table(name, data, columns, sweep), most=None
        )
        return {**sound, **dict.fromkeys(damaged)}

    def _tables_with(self, rows: Collection[str], files: Sequence[str]) -> _Found:
        """The same; files known to hold none of these rows are not read, and empty."""
        empty = pa.table({NAME: pa.nulls(0, pa.string())})
        without: _Found = {}
        for file in files:
            names = self._names.get(file)
            if (
                names is not None
                and not pc.any(pc.is_in(names, pa.array(list(rows), pa.string()))).as_py()
            ):
                without[file] = empty
        tables = self._tables([file for file in files if file not in without])
        self._names.update((file, table[NAME]) for file, table in _sound(tables).items())
        return without | tables

    def _add_small(
        self, pile: Pile, files: Mapping[str, bytes], columns: Columns = ()
    ) -> list[str]:
        """Add those that can be read; returns their names."""
        added: list[str] = []
        for names in _blocks(list(files), _PARSED_AT_A_TIME):
            tables = self._parsed({name: files[name] for name in names}, columns)
            pile.add(tables)
            added += tables
        return added

    def _parsed(self, files: Mapping[str, bytes], columns: Columns = ()) -> dict[str, pa.Table]:
        """Those that can be read."""
        tables: dict[str, pa.Table] = {}
        damaged: list[CorruptObject] = []
        for name, data in files.items():
            try:
                tables[name] = self._table(name, data, columns)
            except CorruptObject as error:
                damaged.append(error)
        self._reader.note(damaged)
        return tables

    def _table(
        self, name: str, data: bytes, columns: Columns = (), sweep: str | None = None
    ) -> pa.Table:
        return from_bytes(data, f"object {name} of {self._objects.url}", columns, sweep)


def _check(columns: Mapping[str, Scalar]) -> None:
    for column in (NAME, VERSION, SOURCE):
        if column in columns:
            raise ValueError(f"the column name {column!r} is reserved")


def _among(table: pa.Table, names: Collection[str], *, absent: bool = False) -> pa.Table:
    """The rows of these names, or all others."""
    among = pc.is_in(table[NAME], pa.array(list(names), pa.string()))
    return table.filter(pc.invert(among) if absent else among)


def _sound(found: _Found) -> dict[str, pa.Table]:
    return {name: table for name, table in found.items() if table is not None}


def _differ(one: Scalar, other: Scalar) -> bool:
    both_nan = one != one and other != other
    return one != other and not both_nan


def _storable(row: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A row whose values a table can hold: huge integers as text, text as valid Unicode."""
    return {column: _storable_value(value) for column, value in row.items()}


def _storable_value(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, int) and value not in _INTEGERS else value


def _file(name: str, version: int, row: Mapping[str, Scalar]) -> bytes:
    return to_bytes(_table_of(name, version, row))


def _table_of(name: str, version: int, row: Mapping[str, Scalar]) -> pa.Table:
    columns = {NAME: name, VERSION: version, **_storable(row)}
    return pa.table({column: [value] for column, value in columns.items()})


def _blocks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
