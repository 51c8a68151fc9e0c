"""`unlearn-ray results STORE compare`: the paper's table, over the reporting seeds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.errors import BadInput, Exit, shown_path

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.monitor.manifest import Manifest
    from unlearn_ray.storage.store import Store

SUMMARY = "the paper's table, over the reporting seeds; or two sweeps beside each other"

_EPILOG = """\
With two sweeps, studies of one name are compared: each number's difference and its 95 % interval,
over the runs that both sweeps have.

examples:
  unlearn-ray results ./store compare
  unlearn-ray results ./store compare --sweep quickstart --format csv
  unlearn-ray results ./store compare --sweep before --sweep after
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep, or which two."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--sweep", metavar="NAME", action="append",
        help="only this sweep; given twice: what differs between the two",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print a table for each sweep, or one for two."""
    from unlearn_ray.monitor.manifest import manifests
    from unlearn_ray.reporting.table import is_compared

    names = list(dict.fromkeys(options.sweep or ()))
    if len(names) > 2:
        reason = "more than two sweeps"
        raise BadInput(f"--sweep {names[2]}", reason, "name two, or none for a table of each")
    store = readable(options.store)
    frames = []
    for name in names or [None]:
        rows = rows_of(store, name, is_compared)
        if rows is None:
            return Exit.DONE
        # A copy of every column would double the memory.
        frames.append(rows.to_pandas(split_blocks=True))
        del rows
    told, output = manifests(store), Output.of(options)
    if len(frames) == 2:
        _print_both(frames, store, told, output)
    else:
        _print_each(frames[0], told, output)
    for frame in frames:
        for sweep in sorted(frame["sweep"].unique()):
            if sweep in told and told[sweep].plugins:
                _tell_of_plugins(told[sweep], frame[frame["sweep"] == sweep])
    return Exit.DONE


def _print_each(rows: pd.DataFrame, told: dict[str, Manifest], output: Output) -> None:
    from unlearn_ray.monitor.manifest import orders, tuning_seeds

    output.comparisons(rows, orders(told), tuning_seeds(told))


def _print_both(
    frames: list[pd.DataFrame], store: Store, told: dict[str, Manifest], output: Output
) -> None:
    from unlearn_ray.monitor.manifest import tuning_seeds
    from unlearn_ray.reporting.two_sweeps import two_sweeps

    first, second = frames
    identities = store.study_identities(
        {*first["study_key"].unique(), *second["study_key"].unique()}
    )
    output.two_sweeps(two_sweeps(first, second, identities, tuning_seeds(told)))


def _tell_of_plugins(manifest: Manifest, rows: pd.DataFrame) -> None:
    from unlearn_ray.reporting.table import unknown_columns

    if unknown_columns(rows):
        names = ", ".join(map(shown_path, manifest.plugins))
        say(f"{manifest.name} was run with the plug-ins {names}; name them with --plugin")
