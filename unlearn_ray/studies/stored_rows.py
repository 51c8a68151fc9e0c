"""The rows of a store, without invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.stored import json_value
from unlearn_ray.studies.rows import Purpose, State

if TYPE_CHECKING:
    from unlearn_ray.storage.row_tables import Columns
    from unlearn_ray.storage.store import Store

_IN_EVERY_ROW = (
    *("sweep", "study_key", "purpose", "study", "trial", "point", "seed", "state", "created"),
)
_PURPOSES, _STATES = set(get_args(Purpose)), set(State) - {State.UNFINISHED}
_LOOKED_AT = {*_IN_EVERY_ROW, "score", "hyperparameters"}


def read_rows(
    store: Store, *prefixes: str, columns: Columns = (), sweep: str | None = None
) -> pa.Table:
    """The rows of a store whose names start with one of `prefixes`; invalid ones are logged.

    Args:
        store: the store to read.
        prefixes: any strings.
        columns: only those of these that exist, and `row`; all if none is named. Or what says of a
            name whether that column is read; then those that tell invalid rows are read, too.
        sweep: only the rows of this one, whose column must then be among them.
    """
    if callable(columns):
        columns = partial(_is_read, columns)
    table = store.read_rows(*prefixes, columns=columns, sweep=sweep)
    wrong = _wrong(table, _IN_EVERY_ROW if callable(columns) else columns)
    if wrong is None:
        return table
    _note(table.filter(wrong), store)
    return table.filter(pc.invert(wrong))


def swept(store: Store) -> list[str]:
    """The names of the sweeps that a store has rows of, sorted."""
    rows = read_rows(store, columns=("sweep",))
    return sorted(rows["sweep"].unique().to_pylist()) if rows.num_rows else []


class LazyRows:
    """All valid rows of a store as they are now, whose columns are read when they are asked for.

    Invalid ones are logged.

    Attributes:
        schema: of all columns.
        num_rows: how many there are.
    """

    def __init__(self, store: Store) -> None:
        self._parts = store.row_parts()
        self.schema = self._parts.schema
        table = self._parts.read(_LOOKED_AT.__contains__)
        self._wrong = _wrong(table, ())
        self.num_rows: int = table.num_rows
        if self._wrong is not None:
            wrong = table.filter(self._wrong)
            _note(wrong, store)
            self.num_rows -= wrong.num_rows

    def read(self, columns: Callable[[str], bool]) -> pa.Table:
        """Those columns, and `row`.

        Raises:
            CorruptObject: a file is damaged there.
        """
        table = self._parts.read(columns)
        return table if self._wrong is None else table.filter(pc.invert(self._wrong))


def _note(wrong: pa.Table, store: Store) -> None:
    store.note(
        CorruptObject(
            f"row {name} of {store.url}",
            "it lacks a required value, or holds an invalid one",
            "delete its file and run the sweep again: only the row is written again",
        )
        for name in wrong["row"].to_pylist()
    )


def _is_read(asked: Callable[[str], bool], name: str) -> bool:
    return name in _LOOKED_AT or asked(name)


def _wrong(table: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray | None:
    """Which rows are invalid; None if all are valid.

    Without scalars of Arrow's, which import pandas: that would slow planning down.
    """
    said = {name: table[name] for name in set(table.column_names) & _LOOKED_AT}
    wanted = [column for column in _IN_EVERY_ROW if not columns or column in columns]
    if any(column not in said for column in wanted):
        return pc.is_valid(table["row"]) if table.num_rows else None
    found = [pc.is_null(said[column]) for column in wanted]
    for column, words in (("purpose", _PURPOSES), ("state", _STATES)):
        if column in wanted:
            found.append(pc.invert(_where(said[column], words.__contains__)))
    if "created" in wanted:
        found.append(_where(said["created"], lambda text: not _is_time(text)))
    if {"state", "score", "purpose"} <= said.keys():
        ended = pc.invert(_where(said["state"], lambda state: state == State.FAILED))
        tuned = _where(said["purpose"], lambda purpose: purpose == "tuning")
        found.append(pc.and_(pc.and_(ended, tuned), pc.is_null(said["score"])))
    if {"purpose", "hyperparameters"} <= said.keys():
        trials = _where(said["purpose"], lambda purpose: purpose in ("tuning", "reporting"))
        unreadable = _where(said["hyperparameters"], lambda text: not _is_mapping(text))
        found.append(pc.and_(trials, unreadable))
    wrong = reduce(pc.or_, found) if found else None
    return wrong if wrong is not None and pc.any(wrong).as_py() else None


def _where(column: pa.ChunkedArray, holds: Callable[[Any], bool]) -> pa.ChunkedArray:
    """The rows whose value it holds for; each value is looked at once."""
    values = pc.unique(column)
    known = values.filter(_booleans([holds(value) for value in values.to_pylist()]))
    return pc.is_in(column, value_set=known)


def _booleans(values: Sequence[bool]) -> pa.Array:
    bits = np.packbits(np.array(values, dtype=bool), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def _is_time(text: str | None) -> bool:
    try:
        return text is not None and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_mapping(text: str | None) -> bool:
    try:
        return text is not None and isinstance(json_value(text), dict)
    except ValueError:
        return False
