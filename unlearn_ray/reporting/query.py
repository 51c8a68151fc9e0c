"""SQL over the rows of a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import BadInput, CorruptObject

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from unlearn_ray.studies.stored_rows import LazyRows

_REFERENCES = b"references"


def query(
    rows: pa.Table | LazyRows, sql: str, tuning: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> pa.Table:
    """The result of a SELECT over the table `rows` and the views derived from it.

    For the views `winners`, `trials` and `references` see `unlearn_ray.reporting.views`. Nothing
    else can be read or written: no other statement runs, and no file is reachable.

    Args:
        rows: the rows of a store.
        sql: the SELECT.
        tuning: tuning seeds by study key, where the store's manifests list them.

    Raises:
        BadInput: not one SELECT, or DuckDB refuses it.
        CorruptObject: a file of `rows` is damaged where the SELECT needs it.
    """
    import duckdb
    import pyarrow as pa

    if not sql.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in sql):
        raise BadInput(f"query {sql!r}", "not UTF-8 text", "write it in UTF-8")
    from unlearn_ray.reporting.views import VIEWS

    given, sql = sql, _quoted(sql)
    failures: list[CorruptObject] = []
    connection = duckdb.connect(":memory:")
    try:
        scanned = rows if isinstance(rows, pa.Table) else _dataset(rows, failures)
        connection.register("rows", scanned)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise BadInput(f"query {given!r}", "not one SELECT", 'write "SELECT ... FROM winners"')
        asked = {name.lower() for name in connection.get_table_names(sql)}
        views = asked.intersection(VIEWS)
        if views:
            frame = _frame(rows, views)
            for name in views:
                connection.register(name, VIEWS[name](frame, tuning))
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        if failures:
            raise failures[0] from None
        reason = " ".join(str(error).split("\nLINE ")[0].split())
        remedy = 'list the columns with query "DESCRIBE winners" (or trials, references, rows)'
        raise BadInput(f"query {given!r}", reason, remedy) from None
    finally:
        connection.close()


def _frame(rows: pa.Table | LazyRows, views: Collection[str]) -> pd.DataFrame:
    """What views show rows of."""
    import pyarrow as pa

    from unlearn_ray.reporting.views import READ

    if not isinstance(rows, pa.Table):
        rows = rows.read(lambda column: any(READ[name](column) for name in views))
    frame: pd.DataFrame = rows.to_pandas(split_blocks=True)
    return frame


def _dataset(rows: LazyRows, failures: list[CorruptObject]) -> Any:
    """Rows as DuckDB scans them: it names the columns that it wants.

    Args:
        rows: of a store.
        failures: gets why a scan failed, of which DuckDB keeps the text alone.
    """
    import pyarrow as pa
    from pyarrow.dataset import InMemoryDataset

    class Scanned(InMemoryDataset):  # type: ignore[misc]
        def scanner(self, columns: Any = None, filter: Any = None, **more: Any) -> Any:  # noqa: A002
            # The filter's columns need not be among them; its text has their names.
            condition = f"{filter}" if filter is not None else ""
            wanted = set(rows.schema.names if columns is None else columns)
            try:
                table = rows.read(lambda name: name in wanted or name in condition)
            except CorruptObject as error:
                failures.append(error)
                raise
            return InMemoryDataset(table).scanner(columns=columns, filter=filter, **more)

    return Scanned(pa.Table.from_batches([], rows.schema))


def _quoted(sql: str) -> str:
    """`sql` with the view `references`, a reserved word of SQL, in quotes."""
    import duckdb

    data = sql.encode(errors="replace")
    for start, kind in reversed(duckdb.tokenize(sql)):
        end = start + len(_REFERENCES)
        if kind == duckdb.token_type.keyword and data[start:end].lower() == _REFERENCES:
            data = data[:start] + b'"references"' + data[end:]
    return data.decode()
