"""`unlearn-ray results STORE rerun`: one step again, and its numbers beside those stored."""

from __future__ import annotations

import argparse
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import BadInput, Exit

if TYPE_CHECKING:
    from unlearn_ray.steps.base import Step
    from unlearn_ray.storage.store import Record, Store

SUMMARY = "run one step again in this process, and compare its numbers with those stored"
EPILOG = """\
Nothing in the store changes, unless --restore stores again what gc has removed. Numbers may differ
on another kind of machine, and with other versions of libraries: a warning says what differs. Exit
status 1: some number differs.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which step, and the sweep that has it."""
    parser.epilog = EPILOG
    parser.add_argument("key", metavar="KEY", help="of the step; it may be shortened")
    parser.add_argument(
        "--sweep", type=Path, metavar="FILE",
        help="a sweep file that has the step; default: the one that the store keeps",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a field of that file, as when the sweep was run",
    )  # fmt: skip
    parser.add_argument(
        "--restore", action="store_true", help="store again what gc has removed of the step"
    )


def run(options: argparse.Namespace) -> int:
    """Run it and print a line for each number, or group of numbers."""
    import pandas as pd

    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.reporting.words import duration
    from unlearn_ray.storage.lookup import find_record
    from unlearn_ray.takeaway.planned import kept_step, planned_step
    from unlearn_ray.takeaway.rerun import rerun, surroundings

    if options.set and options.sweep is None:
        raise BadInput("--set", "the kept file has the overrides of its run", "add --sweep FILE")
    store = readable(options.store)
    record = find_record(store, options.key)
    if options.sweep is None:
        step = kept_step(record, store)
    else:
        sweep = load_sweep(options.sweep, options.set, options.store)
        step = planned_step(record, sweep, store)
    say(f"running {step} again, which took {duration(record.seconds)}")
    for difference in surroundings(record):
        say(f"warning: other than then: {difference}")
    if options.restore:
        return _restore(step, record, store)
    lines = rerun(step, record, store)
    columns = ["what", "stored", "again", "largest difference", "equal"]
    Output.of(options).frame(pd.DataFrame(map(astuple, lines), columns=columns))
    unequal = sum(not line.equal for line in lines)
    if unequal:
        say(f"{unequal} of {len(lines)} differ")
        return Exit.SOME_FAILED
    say("all are equal, digit by digit")
    return Exit.DONE


def _restore(step: Step, record: Record, store: Store) -> int:
    from unlearn_ray.takeaway.rerun import restored

    if restored(step, record, store):
        say("stored again: equal to what was removed, bit for bit")
        return Exit.DONE
    say("stored again; it differs from what was removed, which the rows' numbers are of")
    return Exit.SOME_FAILED
