"""`unlearn-ray results STORE compact`: merge small row files into one."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit
from unlearn_ray.core.words import counted

SUMMARY = "merge small row files into one"


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    """Merge them."""
    count = readable(options.store).compact()
    if count is None:
        say("another process is merging rows")
    else:
        say(f"{counted(count, 'row file')} merged" if count else "nothing to merge")
    return Exit.DONE
