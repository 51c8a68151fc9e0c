"""SQL over the rows of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

_REFERENCES = b"references"


def query(
    rows: pa.Table, sql: str, tuning: Mapping[str, Sequence[int]] = MappingProxyType({})
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
    """
    import duckdb

    if not sql.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in sql):
        raise BadInput(f"query {sql!r}", "not UTF-8 text", "write it in UTF-8")
    from unlearn_ray.reporting.views import VIEWS

    given, sql = sql, _quoted(sql)
    connection = duckdb.connect(":memory:")
    try:
        connection.register("rows", rows)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise BadInput(f"query {given!r}", "not one SELECT", 'write "SELECT ... FROM winners"')
        asked = {name.lower() for name in connection.get_table_names(sql)}
        views = asked.intersection(VIEWS)
        if views:
            frame = rows.to_pandas()
            for name in views:
                connection.register(name, VIEWS[name](frame, tuning))
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\nLINE ")[0].split())
        remedy = 'list the columns with query "DESCRIBE winners" (or trials, references, rows)'
        raise BadInput(f"query {given!r}", reason, remedy) from None
    finally:
        connection.close()


def _quoted(sql: str) -> str:
    """`sql` with the view `references`, a reserved word of SQL, in quotes."""
    import duckdb

    data = sql.encode(errors="replace")
    for start, kind in reversed(duckdb.tokenize(sql)):
        end = start + len(_REFERENCES)
        if kind == duckdb.token_type.keyword and data[start:end].lower() == _REFERENCES:
            data = data[:start] + b'"references"' + data[end:]
    return data.decode()
