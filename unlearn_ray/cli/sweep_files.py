"""What commands that take a sweep file share: its arguments, and its plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.plugin_option import load_plugins, plugin_argument

if TYPE_CHECKING:
    from unlearn_ray.config.auto_gpu import Devices
    from unlearn_ray.core.errors import BadInput
    from unlearn_ray.storage.store import Store
    from unlearn_ray.studies.plan import Plan


def sweep_arguments(
    parser: argparse.ArgumentParser, *, file_needed: bool = True, address: bool = True
) -> None:
    """FILE, what overrides its fields and, with `address`, the cluster."""
    parser.add_argument(
        "file",
        nargs=None if file_needed else "?",
        type=Path,
        metavar="FILE",
        help="the sweep, in YAML, or the name of a bundled one: quickstart",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a field, e.g. search.trials=12; may be repeated",
    )
    plugin_argument(parser)
    parser.add_argument(
        "--store", metavar="URL", help="a folder, s3:// or az:// URL, instead of the file's"
    )
    if address:
        parser.add_argument(
            "--address",
            metavar="ADDRESS",
            help="a running Ray cluster (auto, host:port); default: the one that RAY_ADDRESS "
            "names, or else a local one that ends with the sweep",
        )


def planned(options: argparse.Namespace) -> tuple[Plan, Store]:
    """The plan of the sweep that the options name, and its store."""
    load_plugins(options)
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.plan import make_plan

    sweep = load_sweep(options.file, options.set, options.store)
    store = open_store(sweep.store)
    return make_plan(sweep, store), store


def looked_at(
    plan: Plan, store: Store, address: str | None
) -> tuple[Plan, Devices, list[BadInput]]:
    """A plan as the cluster at `address`, or else this machine, would run it.

    Returns:
        The plan, its GPUs in numbers; the GPUs that there are; what could never be placed.
    """
    from unlearn_ray.reporting.gpu_memory import with_gpus
    from unlearn_ray.scheduling.devices import on_this_machine
    from unlearn_ray.scheduling.environment import prepare, this_machine_lacks

    if address is None:
        devices = on_this_machine()
        plan = with_gpus(plan, store, devices)
        return plan, devices, this_machine_lacks(plan.asks)
    prepare(address)
    from unlearn_ray.scheduling import driver

    return driver.looked_at(plan, store, address)
