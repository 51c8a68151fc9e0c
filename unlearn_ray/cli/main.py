"""`unlearn-ray`: the command line, a subcommand for each module of this folder."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial

from unlearn_ray.cli.commands import Command, add_commands, add_version, commands
from unlearn_ray.core.boundary import run_command
from unlearn_ray.core.errors import EXIT_STATUSES

_DESCRIPTION = """\
Remove chosen training samples from trained models, by many methods, and compare each of them with
a model retrained without those samples. A sweep file in YAML says what to forget, from which model
and by which methods. Every result is kept in a store, a folder or S3 bucket; nothing is run twice.
"""

_EPILOG = """\
first steps:
  %(prog)s plan quickstart             what a bundled sweep would train, and what is stored
  %(prog)s run quickstart              train it, in minutes, and print the table of results
  %(prog)s results ./store compare     that table again, from the store alone

`%(prog)s COMMAND --help` has more.

"""

_FOLDER = "unlearn_ray.cli"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    known = commands(_FOLDER)
    interrupted = getattr(known.get(given[0]), "INTERRUPTED", "") if given else ""
    return run_command(partial(_main, known, given), interrupted)


def _main(known: dict[str, Command], given: list[str]) -> int:
    options = parser(known).parse_args(given)
    return known[options.command].run(options)


def parser(known: dict[str, Command]) -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog="unlearn-ray",
        description=_DESCRIPTION,
        epilog=_EPILOG + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(whole)
    add_commands(whole, known, dest="command")
    return whole


def console() -> int:
    """The console script."""
    # While a sweep runs, both signals end it cleanly; before and after, both end the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main()
