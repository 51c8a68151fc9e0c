"""`unlearn-ray results STORE list`: the sweeps of a store."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import Exit

SUMMARY = "the sweeps of a store: state, studies, rows, size, age"


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    """Print them."""
    import pandas as pd

    from unlearn_ray.keeping.sweeps import listed_sweeps

    found = listed_sweeps(readable(options.store))
    if not found:
        say(f"{options.store} holds no sweep yet; run unlearn-ray run FILE first")
        return Exit.DONE
    Output.of(options).frame(pd.DataFrame([asdict(one) for one in found]))
    return Exit.DONE
