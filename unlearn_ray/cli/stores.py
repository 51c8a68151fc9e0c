"""What commands that read a store share: naming it, opening it, and its rows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.core.errors import BadInput, did_you_mean, without_secrets

if TYPE_CHECKING:
    import pyarrow as pa

    from unlearn_ray.storage.row_tables import Columns
    from unlearn_ray.storage.store import Store


def store_argument(parser: argparse.ArgumentParser) -> None:
    """STORE."""
    parser.add_argument(
        "store",
        metavar="STORE",
        help="a folder, s3://bucket/prefix[?endpoint=URL&region=NAME] or az://container/prefix",
    )


def readable(url: str) -> Store:
    """The store.

    Raises:
        StoreError: it cannot be reached or read.
    """
    from unlearn_ray.storage.store import open_store

    store = open_store(url)
    store.check_readable()
    return store


def rows_of(store: Store, sweep: str | None, columns: Columns = ()) -> pa.Table | None:
    """The rows, of one sweep if it is named; prints a hint if there are none.

    Args:
        store: of the rows.
        sweep: its name, as --sweep gives it.
        columns: those that it needs.
    """
    from unlearn_ray.studies.stored_rows import read_rows, swept

    rows = read_rows(store, columns=columns, sweep=sweep)
    if rows.num_rows:
        return rows
    known = swept(store)
    if sweep is not None and known:
        raise BadInput(f"--sweep {sweep}", "no rows of this sweep", did_you_mean(sweep, known))
    say_empty(store)
    return None


def say_empty(store: Store) -> None:
    """Print a hint that the store has no rows."""
    where = without_secrets(store.url)
    say(f"{where} holds no rows yet; run python -m unlearn_ray.sweep FILE first")
