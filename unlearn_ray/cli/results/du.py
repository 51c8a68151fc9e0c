"""`unlearn-ray results STORE du`: what fills a store."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit

SUMMARY = "bytes by sweep and kind of step, shared with other sweeps or not, and of nobody"


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""
    parser.epilog = (
        "What several sweeps refer to counts for each of them, and is `shared`. (nobody): artifacts"
        " that no sweep refers to; (no record): what killed processes uploaded; (store): records,"
        " rows and whatever else is no artifact."
    )


def run(options: argparse.Namespace) -> int:
    """Print it, and the whole."""
    import pandas as pd

    from unlearn_ray.keeping.usage import usages

    found, total = usages(readable(options.store))
    if not found:
        say(f"{options.store} is empty")
        return Exit.DONE
    Output.of(options).frame(pd.DataFrame([asdict(one) for one in found]))
    say(f"in all {total.bytes / 1e6:,.1f} MB ({total.bytes:,} bytes), {_of_nobody(total.nobody)}")
    return Exit.DONE


def _of_nobody(size: int) -> str:
    return f"{size / 1e6:,.1f} MB of it referred to by no sweep" if size else "all referred to"
