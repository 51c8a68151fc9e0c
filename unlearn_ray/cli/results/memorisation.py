"""`unlearn-ray results STORE memorisation`: memorisation of a bank's audited samples."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from unlearn_ray.cli.output import Output
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import BadInput, Exit

SUMMARY = "memorisation of the audited samples of a sweep's bank"
_FILES = ("csv", "parquet")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the sweep, in YAML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a field, as when the sweep was run",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print a line for each sample."""
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.studies.memorisation import estimates

    output, store = Output.of(options), readable(options.store)
    if output.path is not None and "format" not in options:
        ending = output.path.suffix.removeprefix(".")
        if ending not in _FILES:
            reason = "its name does not say whether to write CSV or Parquet"
            raise BadInput(f"--output {output.path}", reason, "name it .csv or .parquet")
        output = replace(output, format=ending)
    sweep = load_sweep(options.file, options.set, options.store)
    output.frame(estimates(sweep, store))
    return Exit.DONE
