"""Which files of a row count, and how they combine.

A row begins with version 1, the row itself, and grows by additions of versions 2, 3, ..., each a
file of its own. A merged row in a compacted file has the version of the newest addition in it, and
holds every older one. Of the files of a row

- the merged row of the highest version is the base; without one, the row itself is;
- additions are applied in the order of their versions: each fills columns that the row lacked, or
  replaces values. After a missing addition, newer ones wait: it is on its way (a listing of a
  folder, or a sync tool, may show a newer file before an older one);
- of several files of one version, the one that still has its original name counts. Others are
  conflict copies of a sync tool, such as `x (conflicted copy 2026-11-29).parquet`; a file's
  content says which row and version it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_ray.storage.row_tables import NAME, SOURCE, VERSION, concatenated

SMALL = "rows/"
COMPACTED = "rows-compacted/"
SUFFIX = ".parquet"
_ANY_VERSION = 2**62
_FILE = re.compile(
    rf"{SMALL}.*(\{SUFFIX}|~[0-9]{{6,18}}( .*)?)|{COMPACTED}[0-9a-f]{{32}}\{SUFFIX}", re.DOTALL
)

_Row = dict[str, Any]


def object_name(row: str, version: int = 1) -> str:
    """The name of a row's file; only those of additions end in a digit.

    >>> object_name("a"), object_name("a", 2)
    ('rows/a.parquet', 'rows/a~000002')
    """
    return f"{SMALL}{row}{SUFFIX}" if version == 1 else f"{SMALL}{row}~{version:06d}"


def is_rows_file(name: str) -> bool:
    """Whether a file of this name may hold rows; a sync tool's conflict copy may, too.

    >>> [is_rows_file(name) for name in ("rows/a.parquet", "rows/a~000002", "rows/desktop.ini")]
    [True, True, False]
    """
    return _FILE.fullmatch(name) is not None


def row_of(name: str) -> str:
    """The row that a small file of this name was created for.

    >>> row_of("rows/a.parquet"), row_of("rows/a~000002")
    ('a', 'a')
    """
    name = name.removeprefix(SMALL)
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name.rpartition("~")[0]


class Pile:
    """Rows as read from files, possibly several of one name.

    Args:
        prefixes: only rows whose name starts with one of these are kept.
    """

    def __init__(self, prefixes: tuple[str, ...] = ("",)) -> None:
        self._prefixes = prefixes
        self._files: list[str] = []
        self._tables: list[pa.Table] = []

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Add files, by object name; those with equal columns become one table."""
        alike: dict[pa.Schema, list[tuple[int, pa.Table]]] = {}
        for number, (name, table) in enumerate(tables.items(), start=len(self._files)):
            alike.setdefault(table.schema.remove_metadata(), []).append((number, table))
            self._files.append(name)
        for several in alike.values():
            joined = several[0][1]
            if len(several) > 1:
                joined = pa.concat_tables([table for _, table in several]).combine_chunks()
            if VERSION not in joined.column_names:
                joined = joined.append_column(VERSION, _numbers(np.ones(joined.num_rows)))
            each = [(number, table.num_rows) for number, table in several]
            sources = np.repeat(*np.array(each, dtype=np.int64).T)
            sourced = joined.append_column(SOURCE, _numbers(sources))
            self._tables.append(self._kept(sourced))

    def merged(self) -> tuple[pa.Table, set[str]]:
        """The rows, sorted by name, with their versions; and the files that wait for others."""
        by_name: defaultdict[str, list[_Row]] = defaultdict(list)
        tables = []
        for table, doubtful in self._split():
            tables.append(table.drop([SOURCE]))
            for row in doubtful.to_pylist():
                by_name[row[NAME]].append(row)
        resolved: list[_Row] = []
        waiting: set[str] = set()
        for rows in by_name.values():
            whole = self._resolved(rows)
            if whole is not None:
                resolved.append({c: value for c, value in whole.items() if c != SOURCE})
            reached = whole[VERSION] if whole is not None else 0
            waiting.update(self._file(row) for row in rows if row[VERSION] > reached)
        # Tables without rows must not affect columns and their types.
        table = concatenated(t for t in [*tables, *_tables(resolved)] if t.num_rows)
        # The order of columns is that of the files, whichever rows had to be resolved.
        order = dict.fromkeys([NAME, VERSION, *(c for t in tables for c in t.column_names)])
        kept = [column for column in order if column in set(table.column_names)]
        table = table.select(kept)
        return (table if _ascend(table[NAME]) else table.sort_by(NAME)), waiting

    def _kept(self, table: pa.Table) -> pa.Table:
        if "" in self._prefixes:
            return table
        if not _ascend(table[NAME]):
            each = [pc.starts_with(table[NAME], prefix) for prefix in self._prefixes]
            return table.filter(reduce(pc.or_, each))
        # A merged file is sorted: no comparison of every row with every study.
        names, end, parts = _Texts(table[NAME]), 0, []
        for prefix in sorted(self._prefixes):
            begin = max(end, bisect_left(names, prefix))
            end = bisect_left(names, True, begin, key=partial(_is_of_another, prefix))
            parts.append(table.slice(begin, end - begin))
        return pa.concat_tables(parts)

    def _split(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Of each table, the rows that have a single file, and the others."""

        def whole(column: str, kind: pa.DataType) -> pa.ChunkedArray:
            return pa.chunked_array([c for t in self._tables for c in t[column].chunks], kind)

        names = whole(NAME, pa.string())
        # An addition is never a whole row; a merged row is, whatever its version.
        most = _numbers([1 if name.startswith(SMALL) else _ANY_VERSION for name in self._files])
        doubtful = pc.greater(whole(VERSION, pa.int64()), pc.take(most, whole(SOURCE, pa.int64())))
        if not (len(self._tables) == 1 and _ascend(names, strictly=True)):
            counts = pc.value_counts(names)
            if len(counts) < len(names):
                ones = _numbers(np.ones(len(counts)))
                several = counts.field("values").filter(pc.greater(counts.field("counts"), ones))
                doubtful = pc.or_(doubtful, pc.is_in(names, several))
        start = 0
        for table in self._tables:
            its = doubtful.slice(start, table.num_rows)
            start += table.num_rows
            if pc.any(its).as_py():
                yield table.filter(pc.invert(its)), table.filter(its)
            else:
                yield table, table.slice(0, 0)

    def _resolved(self, several: Sequence[_Row]) -> _Row | None:
        """One row, combined from all its files; None if its base is missing."""
        merged = [row for row in several if not self._file(row).startswith(SMALL)]
        small = sorted(
            (row for row in several if self._file(row).startswith(SMALL)), key=self._order
        )
        first = [row for row in small if row[VERSION] == 1]
        if merged:
            start = min(merged, key=lambda row: (-row[VERSION], self._file(row)))
        elif first:
            start = first[0]
        else:
            return None
        whole = dict(start)
        for row in small:
            if row[VERSION] == whole[VERSION] + 1:
                whole |= {c: value for c, value in row.items() if value is not None}
        return whole

    def _order(self, row: _Row) -> tuple[int, bool, str]:
        name = self._file(row)
        return row[VERSION], name != object_name(row[NAME], row[VERSION]), name

    def _file(self, row: _Row) -> str:
        return self._files[row[SOURCE]]


class _Texts(Sequence[str]):
    """A column of text that is looked up by position."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, position: Any) -> Any:
        return self._column[position].as_py()


def _ascend(names: pa.ChunkedArray, *, strictly: bool = False) -> bool:
    """Whether each is at least, or more than, the one before."""
    less = pc.less if strictly else pc.less_equal
    pairs = less(names.slice(0, max(0, len(names) - 1)), names.slice(1))
    return pc.all(pairs, min_count=0).as_py() is True


def _numbers(values: Any) -> pa.Array:
    # Not `pa.array`, which like `pa.scalar` imports pandas and would slow planning down.
    data = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(data), [None, pa.py_buffer(data)])


def _tables(rows: Sequence[_Row]) -> list[pa.Table]:
    """Rows as tables that preserve the types of values."""
    alike: dict[tuple[tuple[str, type], ...], list[_Row]] = {}
    for row in rows:
        alike.setdefault(tuple((c, type(value)) for c, value in row.items()), []).append(row)
    return [pa.Table.from_pylist(each) for each in alike.values()]


def _is_of_another(prefix: str, name: str) -> bool:
    return not name.startswith(prefix)
