"""Parquet files of rows as Arrow tables, and tables of different columns as one."""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unlearn_ray.core.columns import Type, column_of
from unlearn_ray.core.errors import CorruptObject

NAME = "row"
# Of a row in its file: 1, or its newest addition's. Older files lack it: 1.
VERSION = "row version"
SWEEP = "sweep"
# Which file a row was read from; in memory only.
SOURCE = "row source"
# The types of a row's values; other writers' lists are not accepted.
ANY = frozenset({pa.string(), pa.float64(), pa.int64(), pa.bool_()})
_TYPES: dict[Type, frozenset[pa.DataType]] = {
    "text": frozenset({pa.string()}),
    "integer": frozenset({pa.int64()}),
    "number": frozenset({pa.float64(), pa.int64()}),
    "any": ANY,
}
# Tables of at least so many rows are encoded for fast reading; in small ones that takes room.
_MANY = 1000
# Columns that are read together where rows are left out.
_AT_A_TIME = 8
# Which columns to read: names, or what says so of a name; all if there are none.
Columns = Sequence[str] | Callable[[str], bool]
_HIDDEN: dict[str, Type] = {NAME: "text", VERSION: "integer"}


def types_of(column: str, columns: Container[str]) -> frozenset[pa.DataType]:
    """The types that a column may have next to `columns`.

    A file from another writer must not turn a column of numbers into text.
    """
    if column in _HIDDEN:
        return _TYPES[_HIDDEN[column]]
    declared = column_of(column)
    # A column with a gap was measured; one without may belong to another version.
    measured = declared.name != "<metric>" or f"{column}_gap" in columns
    return _TYPES[declared.type] if measured else ANY


def to_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    # Texts that every row has, such as the dataset's name, take no room in a dictionary.
    texts = [column.name for column in table.schema if column.type == pa.string()]
    dictionaries = texts if table.num_rows >= _MANY else False
    pq.write_table(
        table, sink, write_page_checksum=True, use_dictionary=dictionaries, write_statistics=False
    )
    return sink.getvalue()


def from_bytes(
    data: bytes, subject: str, columns: Columns = (), sweep: str | None = None
) -> pa.Table:
    """The table of a Parquet file of rows.

    Args:
        data: of the file.
        subject: its name in errors.
        columns: only those of these that exist, and the hidden ones.
        sweep: only this sweep's rows; none if there is no column of sweeps.

    Raises:
        CorruptObject: it is not a Parquet file of rows, or was altered.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        names = file.schema_arrow.names
        present = set(names)
        if len(present) < len(names):
            raise ValueError("two columns of one name")
        table = _read(file, _wanted(columns, names), sweep)
        table.validate(full=True)
        for column in file.schema_arrow:
            if column.type not in types_of(column.name, present) | {pa.null()}:
                raise ValueError(f"column {column.name} is {column.type}")
        for column in {NAME, VERSION} & set(table.column_names):
            if table[column].null_count:
                raise ValueError(f"column {column} has gaps")
        if NAME not in table.column_names:
            raise ValueError(f"no column {NAME}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptObject(
            subject,
            f"not a readable Parquet file ({str(error).splitlines()[0][:100]})",
            "delete that object and run the sweep again: its steps are in the store,"
            " only the row is written again",
        ) from error
    return table


def _read(file: pq.ParquetFile, columns: list[str] | None, sweep: str | None) -> pa.Table:
    """Columns of a file, or of all rows of a sweep in it."""
    threads = file.metadata.num_rows >= _MANY
    if sweep is None:
        return file.read(columns, use_threads=threads)
    names = file.schema_arrow.names
    own = of_sweep(file.read([SWEEP]), sweep)
    wanted = [name for name in names if columns is None or name in columns]
    # A few at a time: other sweeps' rows never are in memory as a whole.
    parts = [
        file.read(wanted[begin : begin + _AT_A_TIME], use_threads=threads).filter(own)
        for begin in range(0, len(wanted), _AT_A_TIME)
    ]
    arrays = [column for part in parts for column in part.columns]
    return pa.table(arrays, schema=pa.schema([field for part in parts for field in part.schema]))


def of_sweep(table: pa.Table, sweep: str) -> pa.ChunkedArray:
    """Which rows are of a sweep; none if no row says so."""
    if SWEEP not in table.column_names or table.schema.field(SWEEP).type == pa.null():
        return pa.chunked_array([pa.nulls(table.num_rows, pa.bool_())])
    return pc.equal(table[SWEEP], sweep)


def _wanted(columns: Columns, names: Sequence[str]) -> list[str] | None:
    """The columns to read of a file; None is all."""
    if callable(columns):
        return [name for name in names if name in _HIDDEN or columns(name)]
    return list(dict.fromkeys([NAME, VERSION, *columns])) if columns else None


def concatenated(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of all, with the union of their columns.

    A column of ints and floats becomes float; one that mixes other types becomes text; rows of
    tables without the column have null.
    """
    # Rows of one sweep have the same columns, and casting each table would dominate the time.
    alike: dict[pa.Schema, list[pa.Table]] = {}
    for table in tables:
        alike.setdefault(table.schema.remove_metadata(), []).append(table)
    common = common_schema(alike)
    parts = [_cast(pa.concat_tables(each), common) for each in alike.values()]
    # Not `empty_table`, which imports pandas and would slow planning down.
    return pa.concat_tables([pa.Table.from_batches([], common), *parts])


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The union of the columns of several tables, with types that hold all their values."""
    types: dict[str, set[pa.DataType]] = {NAME: {pa.string()}, VERSION: {pa.int64()}}
    for schema in schemas:
        for column in schema:
            types.setdefault(column.name, set()).add(column.type)
    return pa.schema([(name, _common(several)) for name, several in types.items()])


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
