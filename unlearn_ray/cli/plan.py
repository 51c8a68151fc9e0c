"""`unlearn-ray plan FILE`: show what would run, and run nothing."""

from __future__ import annotations

import argparse
import sys

from unlearn_ray.cli.sweep_files import never_placed, planned, sweep_arguments
from unlearn_ray.core.errors import Exit

SUMMARY = "show what a sweep would run, and run nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, and what overrides its fields."""
    sweep_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Print the plan; warns of what this machine or cluster could never run."""
    from unlearn_ray.reporting.plan_view import plan_view

    plan, store = planned(options)
    print(plan_view(plan, store.url))
    for warning in never_placed(plan, options.address):
        print(f"warning: {warning}", file=sys.stderr)
    return Exit.DONE
