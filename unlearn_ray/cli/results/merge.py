"""`unlearn-ray results STORE merge OTHER`: copy another store into this one."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit, listed
from unlearn_ray.core.words import counted

SUMMARY = "copy another store's steps and rows into this one, a folder or S3 alike"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The other store."""
    parser.add_argument("other", metavar="OTHER", help="the store to copy from; it stays as it is")


def run(options: argparse.Namespace) -> int:
    """Copy it, and say how much it was."""
    from unlearn_ray.keeping.merging import merge
    from unlearn_ray.storage.store import open_store

    store = open_store(options.store)
    other = readable(options.other)
    store.check_writable()
    found = merge(store, other)
    steps, rows = counted(found.steps, "step"), counted(found.rows, "row")
    say(f"copied {steps} and {rows}: {found.bytes / 1e6:,.1f} MB of artifacts")
    if found.extended:
        say(f"{counted(found.extended, 'row')} got columns that they lacked")
    if found.sweeps:
        say(f"sweeps: {listed(found.sweeps, 20)}")
    return Exit.DONE
