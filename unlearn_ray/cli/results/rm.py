"""`unlearn-ray results STORE rm SWEEP`: remove a sweep, and what no other sweep refers to."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.keeping.discarding import Discard

SUMMARY = "remove a sweep: its rows, its file, and what no other sweep refers to; asks first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep, and whether to ask."""
    parser.add_argument("sweep", metavar="SWEEP")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Ask, and remove it."""
    from unlearn_ray.keeping.discarding import discard

    def agreed(found: Discard) -> bool:
        say(f"sweep {found.sweep}: {_told(found)}")
        return options.yes or _asked()

    if not (options.yes or sys.stdin.isatty()):
        raise BadInput("rm", "it asks, and there is no terminal to answer at", "add --yes")
    found = discard(readable(options.store), options.sweep, agreed)
    say("nothing was removed" if found is None else f"removed sweep {found.sweep}")
    return Exit.DONE


def _told(found: Discard) -> str:
    steps = f"{counted(len(found.steps), 'step')} of {found.bytes / 1e6:,.1f} MB"
    shared = f"; {counted(found.shared, 'step')} that others need stay" if found.shared else ""
    return f"{counted(len(found.rows), 'row')}, {steps}{shared}"


def _asked() -> bool:
    print("Remove them for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
