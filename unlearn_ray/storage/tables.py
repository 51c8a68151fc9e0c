"""Rows: every trial and seed is one Parquet file of one row, named by its key.

Nothing is ever appended, so writers need no agreement. `compact` merges the small files into
one; a row that is in several files is counted once, and a small file wins.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unlearn_ray.core.errors import CorruptObject, MissingObject, StoreError
from unlearn_ray.storage.objects import THREADS, ObjectStore, read_present

Scalar = bool | int | float | str | None

_SMALL = "rows/"
_COMPACTED = "rows-compacted/"
_SUFFIX = ".parquet"
_NAME = "row"
_READ_ATTEMPTS = 5
_ALL = ("",)
# Small files in memory at a time; a table takes 20 KB even for one row, so few of those.
_READ_AT_A_TIME = 2000
_PARSED_AT_A_TIME = 250


class Rows:
    """The rows of a store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def write(self, name: str, row: Mapping[str, Scalar]) -> None:
        """Write or replace the row `name`; its columns take the types of the values.

        Raises:
            ValueError: a column is called `row`, which holds the name.
        """
        if _NAME in row:
            raise ValueError(f"no column can be called {_NAME!r}: it holds the row's name")
        table = pa.table({column: pa.array([value]) for column, value in row.items()})
        self._objects.write(_small(name), _to_bytes(_named(table, name)))

    def delete(self, name: str) -> None:
        """Remove the row `name`, if it is there; not safe beside a running `compact`."""
        for compacted, table in self._compacted().items():
            others = table.filter(pc.not_equal(table[_NAME], name))
            if others.num_rows < table.num_rows:
                self._replace([compacted], others)
        self._objects.delete(_small(name))

    def get(self, name: str) -> dict[str, Scalar] | None:
        """The row `name`, or None if there is none; one request, unless it was compacted."""
        small = read_present(self._objects, [_small(name)])
        tables = self._parsed(small) or list(self._compacted().values())
        found = [table.filter(pc.equal(table[_NAME], name)) for table in tables]
        rows: list[dict[str, Scalar]] = [row for table in found for row in table.to_pylist()]
        return {column: rows[0][column] for column in rows[0] if column != _NAME} if rows else None

    def read(self, prefixes: tuple[str, ...] = _ALL, columns: Sequence[str] = ()) -> pa.Table:
        """All rows whose name starts with one of `prefixes`: the union of their columns, by name.

        A column that is int here and float there becomes float; one that mixes other types
        becomes text; where a row lacks a column it is null. `row` holds the name.

        Args:
            prefixes: any texts.
            columns: only these, where they are, beside `row`; all if none is named.

        Raises:
            CorruptObject: a file cannot be read.
        """
        wanted = [_NAME, *columns] if columns else None
        names = [name for prefix in prefixes for name in self._objects.names(_SMALL + prefix)]
        small: list[pa.Table] = []
        for block in _blocks(names, _READ_AT_A_TIME):
            small += self._parsed(read_present(self._objects, block), wanted)
        # Listed after the small files were read: what vanished from those is in here.
        return _union(small, self._compacted(wanted).values(), prefixes)

    def compact(self, names: Iterable[str] | None = None) -> int:
        """Merge rows into one file and remove their small ones; returns how many.

        Safe against a crash at any point, and beside writers: a row that was written again
        since it was read stays.

        Args:
            names: of the rows; all if not given.
        """
        small = self._objects.names(_SMALL) if names is None else [_small(name) for name in names]
        return sum(self._compact(block) for block in _blocks(small, _READ_AT_A_TIME))

    def _compact(self, names: Sequence[str]) -> int:
        small = read_present(self._objects, names)
        if not small:
            return 0
        compacted = self._compacted()
        # The older compacted files go first: where they and the new one differ, the small files
        # that made the difference still stand over both.
        self._replace(list(compacted), _union(self._parsed(small), compacted.values()))
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._remove_if_same, small, small.values()))
        return len(small)

    def _compacted(self, columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """The tables of the compacted files, by object name."""
        for _ in range(_READ_ATTEMPTS):
            names = self._objects.names(_COMPACTED)
            files = read_present(self._objects, names)
            if len(files) == len(names):  # none was replaced by a newer one since
                return {name: self._table(name, data, columns) for name, data in files.items()}
        raise StoreError("rows", "they are being compacted again and again", "read them later")

    def _parsed(
        self, files: Mapping[str, bytes], columns: Sequence[str] | None = None
    ) -> list[pa.Table]:
        """Files as tables, many rows in each."""
        tables: list[pa.Table] = []
        for names in _blocks(list(files), _PARSED_AT_A_TIME):
            tables += _joined(self._table(name, files[name], columns) for name in names)
        return tables

    def _replace(self, compacted: Sequence[str], table: pa.Table) -> None:
        """Write `table` as a compacted file in the place of others."""
        data = _to_bytes(table)
        name = f"{_COMPACTED}{hashlib.sha256(data).hexdigest()[:16]}{_SUFFIX}"
        self._objects.write(name, data)
        for old in compacted:
            if old != name:  # equal content has an equal name
                self._objects.delete(old)

    def _remove_if_same(self, name: str, data: bytes) -> None:
        try:
            same = self._objects.read(name) == data
        except MissingObject:
            return  # another process compacts too
        if same:
            self._objects.delete(name)

    def _table(self, name: str, data: bytes, columns: Sequence[str] | None) -> pa.Table:
        try:
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            table = file.read(columns, use_threads=False)
            table.validate(full=True)
            if _NAME not in table.column_names:
                raise ValueError(f"no column {_NAME}")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptObject(
                f"object {name} of {self._objects.url}",
                f"no readable Parquet file ({str(error).splitlines()[0][:100]})",
                "delete that object and run the sweep again: its steps are in the store,"
                " only the row is written anew",
            ) from error
        return table


def _small(name: str) -> str:
    return f"{_SMALL}{name}{_SUFFIX}"


def _blocks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _joined(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Tables of the same columns as one."""
    alike: dict[pa.Schema, list[pa.Table]] = {}
    for table in tables:
        alike.setdefault(table.schema.remove_metadata(), []).append(table)
    return [pa.concat_tables(each).combine_chunks() for each in alike.values()]


def _union(
    small: list[pa.Table], compacted: Iterable[pa.Table], prefixes: tuple[str, ...] = _ALL
) -> pa.Table:
    """One table, sorted by name; a small file wins over a compacted row of its name."""
    tables = list(small)
    known = {name for table in small for name in table[_NAME].to_pylist()}
    for table in compacted:
        names = table[_NAME].to_pylist()
        keep = [name.startswith(prefixes) and name not in known for name in names]
        known.update(names)
        tables.append(table.filter(pa.array(keep, pa.bool_())))
    return _concatenated(tables).sort_by(_NAME)


def _named(table: pa.Table, name: str) -> pa.Table:
    if table.num_columns == 0:
        return pa.table({_NAME: [name]})
    return table.add_column(0, _NAME, pa.array([name]))


def _to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table, sink, write_page_checksum=True, use_dictionary=False, write_statistics=False
    )
    return sink.getvalue()


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    # Rows of one sweep have the same columns: casting each alone would take most of the time.
    joined = _joined(tables)
    types: dict[str, set[pa.DataType]] = {_NAME: {pa.string()}}
    for table in joined:
        for column in table.schema:
            types.setdefault(column.name, set()).add(column.type)
    common = pa.schema([(name, _common(several)) for name, several in types.items()])
    parts = [_cast(table, common) for table in joined]
    # Not `empty_table`, which imports pandas: a plan has no time for that.
    return pa.concat_tables([pa.Table.from_batches([], common), *parts])


def _common(types: set[pa.DataType]) -> pa.DataType:
    types = types - {pa.null()}
    if not types:
        return pa.null()
    if len(types) == 1:
        return next(iter(types))
    return pa.float64() if types <= {pa.int64(), pa.float64()} else pa.string()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    present = set(table.column_names)
    columns = [
        # Unsafe only in that an int beyond 2**53 is rounded when it becomes a float.
        table[column.name].cast(column.type, safe=False)
        if column.name in present
        else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)
