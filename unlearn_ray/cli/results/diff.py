"""`unlearn-ray results STORE diff`: the fields in which two steps differ."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit
from unlearn_ray.core.flat import differing

if TYPE_CHECKING:
    from unlearn_ray.storage.store import Record

SUMMARY = "the fields in which two steps differ"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Two keys."""
    parser.add_argument("first", metavar="KEY", help="a key, or a prefix of one")
    parser.add_argument("second", metavar="KEY")


def run(options: argparse.Namespace) -> int:
    """Print a line for each field."""
    import pandas as pd

    from unlearn_ray.storage.lookup import find_record

    store = readable(options.store)
    first, second = (find_record(store, key) for key in (options.first, options.second))
    lines = list(differences(first, second))
    if lines:
        Output.of(options).frame(pd.DataFrame(lines, columns=["field", first.key, second.key]))
    else:
        say(f"{first.key} and {second.key} have the same config")
    return Exit.DONE


def differences(first: Record, second: Record) -> Iterator[tuple[str, str | None, str | None]]:
    """The fields that differ between two records' configs, dotted, with both values as JSON."""
    return differing(*({"kind": record.kind, **record.config} for record in (first, second)))
