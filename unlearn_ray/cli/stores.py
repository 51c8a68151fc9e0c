"""What commands that read a store share: opening it, and its rows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.core.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from unlearn_ray.storage.row_tables import Columns
    from unlearn_ray.storage.store import Store


def readable(url: str) -> Store:
    """The store.

    Raises:
        StoreError: it cannot be reached or read.
    """
    from unlearn_ray.storage.store import open_store

    store = open_store(url)
    store.check_readable()
    return store


def rows_of(store: Store, options: argparse.Namespace, columns: Columns = ()) -> pa.Table | None:
    """The rows, of one sweep if the options name one; prints a hint if there are none.

    Args:
        store: of the rows.
        options: of the command.
        columns: those that it needs.
    """
    import pyarrow.compute as pc

    from unlearn_ray.studies.stored_rows import read_rows

    rows = read_rows(store, columns=columns)
    if rows.num_rows == 0:
        say_empty(options)
        return None
    sweep = getattr(options, "sweep", None)
    if sweep is None:
        return rows
    known = rows["sweep"].unique().to_pylist()
    if sweep not in known:
        raise BadInput(f"--sweep {sweep}", "no rows of this sweep", did_you_mean(sweep, known))
    return rows.filter(pc.equal(rows["sweep"], sweep))


def say_empty(options: argparse.Namespace) -> None:
    """Print a hint that the store has no rows."""
    say(f"{options.store} holds no rows yet; run python -m unlearn_ray.sweep FILE first")
