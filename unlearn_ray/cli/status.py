"""`unlearn-ray status STORE`: the progress of sweeps, from the store alone."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from contextlib import nullcontext

from unlearn_ray.cli.plugin_option import load_plugins, plugin_argument
from unlearn_ray.cli.stores import readable, store_argument
from unlearn_ray.core.errors import EXIT_STATUSES, Exit

SUMMARY = "show the progress of sweeps on a store, from any machine"

_DESCRIPTION = """\
Show the progress of the sweeps on a store: reference steps, trials and why some failed, what runs
now and where, throughput and time left, accelerator hours and budget. It only reads the store, and
runs on any machine with access to it.
"""

_EPILOG = """\
examples:
  %(prog)s ./store
  %(prog)s s3://bucket/unlearning ac_cifar --watch
  %(prog)s ./store --json

A step is running while a process holds its lease and writes heartbeats. Whether a heartbeat is late
is first judged by the clocks of both machines; with --watch it is observed, without clocks.

"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE, a sweep, and how often to look."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG + EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    store_argument(parser)
    parser.add_argument("sweep", nargs="?", metavar="SWEEP", help="only this sweep")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=10.0,
        metavar="SECONDS",
        help="repeat every SECONDS (default: 10), until all sweeps are finished",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one line each time")
    plugin_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print the progress, once or again and again; returns the exit status.

    Raises:
        UnlearnRayError: there is no such store or sweep, or it cannot be read.
    """
    load_plugins(options)
    # Imported here, as --help needs none of it.
    from rich.console import Console
    from rich.live import Live

    from unlearn_ray.monitor.running import Observer
    from unlearn_ray.monitor.status import sweep_statuses
    from unlearn_ray.reporting.status_view import json_status, plain_status, rich_status

    store = readable(options.store)
    out, observer = Console(), Observer()
    # FORCE_COLOR does not turn a file into a terminal.
    terminal = sys.stdout.isatty() and not options.json
    live = options.watch is not None and terminal and not out.is_dumb_terminal
    with Live(console=out, auto_refresh=False) if live else nullcontext() as view:
        while True:
            found = sweep_statuses(store, options.sweep, observer)
            if view is not None:
                view.update(rich_status(found, store.url), refresh=True)
            elif terminal:
                out.print(rich_status(found, store.url))
            else:
                told = json_status(found, store.url) if options.json else None
                text = json.dumps(told) if told else plain_status(found, store.url)
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()
            if options.watch is None or all(one.finished for one in found):
                return Exit.DONE
            time.sleep(options.watch)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds; write 10")
    return seconds
