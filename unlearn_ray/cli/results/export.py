"""`unlearn-ray results STORE export`: a model as a folder that another library loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit

SUMMARY = "a model of a sweep as a folder: weights, config, card, and a script that loads it"
LIBRARIES = ("native", "torchvision", "timm", "open_clip")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, for which library, and where to."""
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--method", metavar="NAME",
        help="the winner of this study or method; or retrain, or original",
    )  # fmt: skip
    which.add_argument(
        "--best", action="store_true",
        help="the study with the smallest average gap over the reporting runs (the default)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="S", help="reporting seed (default: the first with a model)"
    )
    parser.add_argument(
        "--replicate", type=int, default=0, metavar="R", help="of the seed (default: 0)"
    )
    parser.add_argument(
        "--to", choices=LIBRARIES, default=LIBRARIES[0],
        help="the library that will load it (default: native, which is unlearn_ray)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a folder that is new or empty"
    )


def run(options: argparse.Namespace) -> int:
    """Write the folder, and say what is in it."""
    from unlearn_ray.takeaway.choice import choose
    from unlearn_ray.takeaway.export import export

    store = readable(options.store)
    choice = choose(store, options.sweep, options.method, options.seed, options.replicate)
    export(choice, store, options.to, options.output)
    run_of = f"seed {choice.row['seed']}, replicate {choice.row['replicate']}"
    say(f"{choice.study} ({run_of}; {choice.record.kind} {choice.record.key})")
    say(f"written to {options.output}: check it with python {options.output / 'load.py'}")
    return Exit.DONE
