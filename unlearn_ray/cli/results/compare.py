"""`unlearn-ray results STORE compare`: the paper's table, over the reporting seeds."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.errors import Exit, shown_path

SUMMARY = "the paper's table, over the reporting seeds"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep."""
    parser.add_argument("--sweep", metavar="NAME", help="only this sweep")


def run(options: argparse.Namespace) -> int:
    """Print a table for each sweep."""
    from unlearn_ray.monitor.manifest import manifests, orders, tuning_seeds
    from unlearn_ray.reporting.table import unknown_columns

    store = readable(options.store)
    rows = rows_of(store, options)
    if rows is not None:
        frame = rows.to_pandas()
        told = manifests(store)
        Output.of(options).comparisons(frame, orders(told), tuning_seeds(told))
        for sweep, part in frame.groupby("sweep"):
            plugins = told[str(sweep)].plugins if str(sweep) in told else ()
            if plugins and unknown_columns(part):
                names = ", ".join(map(shown_path, plugins))
                say(f"{sweep} was run with the plug-ins {names}; name them with --plugin")
    return Exit.DONE
