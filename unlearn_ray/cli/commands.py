"""Commands that are found in their folder: a new file there is a new command.

A command is a module with a `SUMMARY` (one line for --help), `arguments`, which declares its
options on a parser, and `run`, which returns the exit status. Modules without a `SUMMARY` are
helpers. All are imported for any --help, so what takes long to import is imported in functions.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable
from typing import Protocol, cast

from unlearn_ray.core.release import release


class Command(Protocol):
    """What such a module offers; `INTERRUPTED`, if it has one, is said after Ctrl-C."""

    SUMMARY: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments; it may also set the parser's texts."""

    def run(self, options: argparse.Namespace) -> int:
        """Run it; returns the exit status, one of `core.errors.Exit`."""


def commands(package: str) -> dict[str, Command]:
    """The commands of a package by name, sorted."""
    folder = importlib.import_module(package).__path__
    names = sorted(found.name for found in pkgutil.iter_modules(folder))
    modules = {name: importlib.import_module(f"{package}.{name}") for name in names}
    return {
        name: cast(Command, module)
        for name, module in modules.items()
        if hasattr(module, "SUMMARY")
    }


def add_version(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option --version."""
    parser.add_argument("--version", action="version", version=f"unlearn_ray {release()}")


def add_commands(
    parser: argparse.ArgumentParser,
    known: dict[str, Command],
    dest: str,
    common: Callable[[argparse.ArgumentParser], None] = add_version,
) -> None:
    """Give `parser` a subcommand for each of `known`.

    Args:
        parser: of the command above them.
        known: commands by name.
        dest: the option that will hold the chosen one's name.
        common: declares what all of them take; a command may declare an option of the same name.
    """
    subparsers = parser.add_subparsers(dest=dest, required=True, metavar="COMMAND")
    for name, command in known.items():
        added = subparsers.add_parser(
            name, help=command.SUMMARY, description=command.SUMMARY, conflict_handler="resolve"
        )
        common(added)
        command.arguments(added)
