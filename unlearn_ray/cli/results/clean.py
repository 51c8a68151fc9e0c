"""`unlearn-ray results STORE clean`: remove what killed processes left behind."""

from __future__ import annotations

import argparse
from datetime import timedelta

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit

SUMMARY = "remove what killed processes left behind; safe while sweeps run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """How old they must be."""
    parser.add_argument("--dry-run", action="store_true", help="only show how much it is")
    parser.add_argument(
        "--hours", type=_hours, default=24.0, metavar="HOURS",
        help="keep what is younger (default: 24)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Remove them, and say how much it was."""
    found = readable(options.store).clean(
        timedelta(hours=options.hours), remove=not options.dry_run
    )
    counts = [
        (len(found.artifacts), "file", "of artifacts that no record names"),
        (len(found.checkpoints), "checkpoint", "of complete steps"),
        (len(found.probes), "probe", "of the store"),
    ]
    listed = ", ".join(
        f"{count} {what}{'' if count == 1 else 's'} {of}" for count, what, of in counts if count
    )
    if listed:
        would = "would remove" if options.dry_run else "removed"
        say(f"{would} {listed}: {found.size / 1e6:,.1f} MB ({found.size:,} bytes)")
    else:
        say(f"no leftovers older than {options.hours:g} h")
    if found.held:
        say(f"{found.held} unfinished steps are held by running processes; their files stay")
    return Exit.DONE


def _hours(text: str) -> float:
    hours = float(text)
    if not 1 <= hours <= 24 * 36500:
        raise argparse.ArgumentTypeError(f"{text} is not an age in hours; write 24, or at least 1")
    return hours
