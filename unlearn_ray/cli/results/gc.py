"""`unlearn-ray results STORE gc`: remove weights and large observations that nothing kept needs."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit, listed
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.keeping.collection import Collected
    from unlearn_ray.keeping.policy import Models

SUMMARY = "remove weights and large observations that nothing kept needs; safe while sweeps run"

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is kept, and from what age on the rest goes."""
    parser.epilog = (
        "Rows, records, small observations, reference models and banks always stay, and so does"
        " everything made from a reference model of a sweep that runs: all numbers and the table"
        " remain, and nothing is trained again for them (docs/keeping.md)."
    )
    parser.add_argument(
        "--keep", type=_models, required=True, metavar="WHICH",
        help="whose models of tuning runs to keep: best, the winners of all studies; N, the best N"
        " trials of each study; reporting, none but the models of the table",
    )  # fmt: skip
    parser.add_argument("--sweep", metavar="NAME", help="only what this sweep alone refers to")
    parser.add_argument(
        "--older-than", type=_age, default=timedelta(0), metavar="AGE",
        help="keep what is younger, by the store's clock: 30d, 12h, 2w",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="only show how much it is")


def run(options: argparse.Namespace) -> int:
    """Remove them, and say how much it was."""
    from unlearn_ray.core.errors import BadInput, did_you_mean
    from unlearn_ray.keeping.collection import collect
    from unlearn_ray.monitor.manifest import manifests

    store = readable(options.store)
    if options.sweep is not None:
        known = manifests(store)
        if options.sweep not in known:
            remedy = did_you_mean(options.sweep, known)
            raise BadInput(f"--sweep {options.sweep}", "no such sweep in this store", remedy)
    found = collect(
        store,
        options.keep,
        age=options.older_than,
        remove=not options.dry_run,
        sweep=options.sweep,
        why=f"gc --keep {options.keep}",
    )
    _tell(found, dry=options.dry_run)
    return Exit.SOME_FAILED if found.started else Exit.DONE


def _tell(found: Collected, *, dry: bool) -> None:
    kinds: dict[str, int] = {}
    for one in found.artifacts:
        kinds[one.record.kind] = kinds.get(one.record.kind, 0) + 1
    left = found.leftovers
    several = [(count, f"artifact of {kind}") for kind, count in sorted(kinds.items())]
    several += [
        (len(left.artifacts), "file without a record"),
        (len(left.checkpoints), "checkpoint of a complete step"),
    ]
    said = [
        f"{count:,} {what if count == 1 else _plural(what)}" for count, what in several if count
    ]
    if said:
        would = "would remove" if dry else "removed"
        say(f"{would} {', '.join(said)}: {found.size / 1e6:,.1f} MB ({found.size:,} bytes)")
    else:
        say("nothing to remove")
    if found.running:
        say(f"{listed(sorted(found.running))} runs; what it may need stays")
    if found.started:
        rest = counted(len(found.started), "sweep")
        say(f"the rest stayed: {rest} started meanwhile ({listed(sorted(found.started))})")


def _plural(what: str) -> str:
    first, _, rest = what.partition(" ")
    return f"{first}s {rest}"


def _models(text: str) -> Models:
    if text == "best":
        return "best"
    if text == "reporting":
        return "reporting"
    if text.isascii() and text.isdecimal() and 0 < int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither best, reporting nor a count of trials")


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 30d, 12h, 90m or 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
