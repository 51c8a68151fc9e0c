"""`unlearn-ray results STORE show`: everything about one step, one trial, or a study's winner."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import Output
from unlearn_ray.cli.shown import Shown
from unlearn_ray.cli.shown_step import shown_row_of, shown_step
from unlearn_ray.cli.shown_trial import shown_trial
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import BadInput, Exit

if TYPE_CHECKING:
    from unlearn_ray.storage.store import Store

SUMMARY = "everything about one step, one trial, or a study's winner"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to show."""
    parser.add_argument(
        "what", metavar="KEY|SWEEP/STUDY[/TRIAL]",
        help="a step's key, which may be shortened; a trial by its number; or a study's best trial",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print it."""
    store = readable(options.store)
    _print(_found(options.what, store), Output.of(options))
    return Exit.DONE


def _found(what: str, store: Store) -> Shown:
    from unlearn_ray.storage.lookup import find_step

    if "/" in what:
        return shown_trial(what, store)
    try:
        return shown_step(find_step(store, what), store)
    except BadInput as error:
        # A step that failed for a trial alone is in the trial's row.
        found = shown_row_of(what, store)
        if found is None:
            raise error from None
        return found


def _print(shown: Shown, output: Output) -> None:
    if output.format not in ("table", "markdown"):
        output.frame(shown.whole())
        return
    tables = [frame for frame in shown.tables if len(frame)]
    for number, frame in enumerate(tables):
        output.frame(frame, append=number > 0)
    if shown.text:
        output.text(f"\n{shown.text.rstrip()}\n", append=True)
