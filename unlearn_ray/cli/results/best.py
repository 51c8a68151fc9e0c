"""`unlearn-ray results STORE best`: the best complete trial of each study, on the tuning seeds."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.errors import Exit

SUMMARY = "the best complete trial of each study, on the tuning seeds"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep."""
    parser.add_argument("--sweep", metavar="NAME", help="only this sweep")


def run(options: argparse.Namespace) -> int:
    """Print them."""
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.reporting.ranking import best_trials, is_ranked_by

    store = readable(options.store)
    rows = rows_of(store, options.sweep, is_ranked_by)
    if rows is None:
        return Exit.DONE
    best = best_trials(rows.to_pandas(split_blocks=True), tuning_seeds(manifests(store)))
    if len(best):
        Output.of(options).frame(best)
    else:
        say("no complete trial on the tuning seeds yet")
    return Exit.DONE
