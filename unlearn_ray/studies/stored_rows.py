"""The rows of a store, without invalid ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.stored import json_value
from unlearn_ray.studies.rows import Purpose, State

if TYPE_CHECKING:
    import pyarrow as pa

    from unlearn_ray.storage.store import Store

_IN_EVERY_ROW = (
    *("sweep", "study_key", "purpose", "study", "trial", "point", "seed", "state", "created"),
)
_PURPOSES, _STATES = set(get_args(Purpose)), set(State) - {State.UNFINISHED}
_LOOKED_AT = {*_IN_EVERY_ROW, "score", "hyperparameters"}


def read_rows(store: Store, *prefixes: str, columns: Sequence[str] = ()) -> pa.Table:
    """The rows of a store whose names start with one of `prefixes`; invalid ones are logged.

    Args:
        store: the store to read.
        prefixes: any strings.
        columns: only those of these that exist, and `row`; all if none is named.
    """
    table = store.read_rows(*prefixes, columns=columns)
    wrong = _wrong(table, columns)
    if not wrong:
        return table
    names = table["row"].to_pylist()
    store.note(
        CorruptObject(
            f"row {names[number]} of {store.url}",
            "it lacks a required value, or holds an invalid one",
            "delete its file and run the sweep again: only the row is written again",
        )
        for number in sorted(wrong)
    )
    return table.take([number for number in range(len(names)) if number not in wrong])


def _wrong(table: pa.Table, columns: Sequence[str]) -> set[int]:
    """Which rows are invalid."""
    # Lists, as Arrow's own comparisons import pandas, which would slow planning down.
    said = {name: table[name].to_pylist() for name in set(table.column_names) & _LOOKED_AT}
    rows = range(table.num_rows)
    wanted = [column for column in _IN_EVERY_ROW if not columns or column in columns]
    if any(column not in said for column in wanted):
        return set(rows)
    wrong = {row for column in wanted for row in rows if said[column][row] is None}
    for column, words in (("purpose", _PURPOSES), ("state", _STATES)):
        wrong |= {row for row in rows if column in wanted and said[column][row] not in words}
    if "created" in wanted:
        no_times = {text for text in set(said["created"]) if not _is_time(text)}
        wrong |= {row for row in rows if said["created"][row] in no_times}
    if {"state", "score", "purpose"} <= said.keys():
        ended = {row for row in rows if said["state"][row] != State.FAILED}
        tuned = {row for row in ended if said["purpose"][row] == "tuning"}
        wrong |= {row for row in tuned if said["score"][row] is None}
    if {"purpose", "hyperparameters"} <= said.keys():
        purposes, texts = said["purpose"], said["hyperparameters"]
        unreadable = {text for text in set(texts) if not _is_mapping(text)}
        trials = {row for row in rows if purposes[row] in ("tuning", "reporting")}
        wrong |= {row for row in trials if texts[row] in unreadable}
    return wrong


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
