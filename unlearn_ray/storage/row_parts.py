"""The rows of a store at one moment, whose columns are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from unlearn_ray.storage.row_tables import NAME, VERSION, Columns, common_schema
from unlearn_ray.storage.row_versions import Pile

Parse = Callable[[str, bytes, Columns], pa.Table]


class RowParts:
    """Rows that lie in several files.

    Args:
        small: small files, read.
        merged: compacted files.
        parse: reads columns of a file, by its name and content.

    Attributes:
        schema: of all columns.
    """

    def __init__(
        self, small: Mapping[str, pa.Table], merged: Mapping[str, bytes], parse: Parse
    ) -> None:
        self._small, self._merged, self._parse = small, merged, parse
        names = self._piled(lambda _: False)
        read = sum(table.num_rows for table in small.values())
        read += sum(pq.read_metadata(pa.BufferReader(data)).num_rows for data in merged.values())
        # Additions change the rows that they belong to: then the whole table is read at once.
        self._whole = None if names.num_rows == read else self._piled(())
        self.schema = self._common() if self._whole is None else self._whole.schema

    def read(self, columns: Callable[[str], bool]) -> pa.Table:
        """Those columns, and `row`, as `Rows.read` gives them."""
        if self._whole is None:
            return self._piled(columns)
        kept = (name for name in self._whole.column_names if name == NAME or columns(name))
        return self._whole.select([*kept])

    def _piled(self, columns: Columns) -> pa.Table:
        pile = Pile()
        pile.add({name: _part(table, columns) for name, table in self._small.items()})
        pile.add({name: self._parse(name, data, columns) for name, data in self._merged.items()})
        return pile.merged()[0].drop([VERSION])

    def _common(self) -> pa.Schema:
        schemas = [table.schema for table in self._small.values()]
        for data in self._merged.values():
            file = pq.ParquetFile(pa.BufferReader(data))
            schemas += [file.schema_arrow] if file.metadata.num_rows else []
        common = common_schema(schemas)
        return common.remove(common.get_field_index(VERSION))


def _part(table: pa.Table, columns: Columns) -> pa.Table:
    if not callable(columns):
        return table
    return table.select([n for n in table.column_names if n in (NAME, VERSION) or columns(n)])
