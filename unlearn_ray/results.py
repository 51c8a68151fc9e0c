"""`python -m unlearn_ray.results STORE`: query, best, compare, power, memorisation, diff ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from unlearn_ray.cli import results
from unlearn_ray.core.boundary import run_command

if TYPE_CHECKING:
    import pandas as pd


def load(store: str) -> pd.DataFrame:
    """Every row of a store: one per trial and seed, and one per reference model and seed.

    Args:
        store: a folder, s3://bucket/prefix[?endpoint=URL&region=NAME] or az://container/prefix.

    Raises:
        StoreError: the store cannot be reached or read.
    """
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.stored_rows import read_rows

    frame: pd.DataFrame = read_rows(open_store(store)).to_pandas()
    return frame


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(partial(_main, arguments), interrupted="")


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unlearn_ray.results")
    results.arguments(parser)
    return results.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
