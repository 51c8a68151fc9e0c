"""`unlearn-ray plan FILE`: show what would run, and run nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.sweep_files import looked_at, planned, sweep_arguments
from unlearn_ray.core.collector import collector_paused
from unlearn_ray.core.errors import BadInput, Exit

if TYPE_CHECKING:
    from unlearn_ray.config.auto_gpu import Devices
    from unlearn_ray.config.sweep_schema import Resources
    from unlearn_ray.steps.base import Step
    from unlearn_ray.storage.store import Store
    from unlearn_ray.studies.plan import Plan

SUMMARY = "show what a sweep would run, and run nothing"


_EPILOG = """\
--estimate tells hours from the store's records of the same trainings on the same kind of device,
and else times the first 20 iterations of each training in this process; nothing of that is stored.

A price file says what an hour of a device costs, by a part of its name:
  currency: EUR
  hour: {H200: 3.2, T4: 0.35, CPU: 0.04}
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what overrides its fields, and what to estimate."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sweep_arguments(parser)
    parser.add_argument(
        "--estimate", action="store_true", help="also how many hours it takes; may take minutes"
    )
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="prices of hours; --estimate then shows money"
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan; warns of what this machine or cluster could never run."""
    if options.prices is not None and not options.estimate:
        raise BadInput("--prices", "no hours are estimated", "add --estimate")
    # PyTorch and all parts are imported meanwhile, whose millions of objects stay.
    with collector_paused():
        from unlearn_ray.reporting.plan_view import plan_view

        plan, store = planned(options)
    plan, devices, warnings = looked_at(plan, store, options.address)
    print(plan_view(plan, store.url, _costs(options, plan, store, devices)))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return Exit.DONE


def _costs(options: argparse.Namespace, plan: Plan, store: Store, devices: Devices) -> str:
    """What a plan computes on and, with --estimate, how long."""
    from unlearn_ray.config.auto_gpu import computes_on
    from unlearn_ray.reporting.estimate import estimated, parts_of
    from unlearn_ray.reporting.prices import read_prices
    from unlearn_ray.reporting.work_view import estimate_view, work_view

    prices = None if options.prices is None else read_prices(options.prices)
    told = f"Computes on: {computes_on(plan.sweep, devices)}."
    if plan.complete or not parts_of(plan):
        return told
    if not options.estimate:
        return f"{told}\n\n{work_view(plan)}"
    # It builds the networks, which a plan alone has no need of.
    from unlearn_ray.reporting.plan_memory import memory_lines

    told = "\n".join([told, *memory_lines(plan.sweep)])
    return f"{told}\n\n{estimate_view(plan, estimated(plan, store, _timed), devices, prices)}"


def _timed(step: Step, resources: Resources) -> float:
    """Seconds of a training on this machine, shared by the workers that it will have."""
    from unlearn_ray.steps.timing import training_seconds
    from unlearn_ray.train.compute import Compute

    make = Compute.gpu if resources.gpus else Compute.cpu
    print(f"timing {step}", file=sys.stderr, flush=True)
    return training_seconds(step, make(resources.threads)) / resources.fewest_workers
