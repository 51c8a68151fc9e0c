"""Run a sweep of unlearning methods: from a YAML file to a result table.

python -m unlearn_ray.sweep FILE          run what the store does not hold yet, print the table
python -m unlearn_ray.sweep plan FILE     show what would run, and run nothing
python -m unlearn_ray.sweep status STORE  show the progress of sweeps on a store, from any machine
python -m unlearn_ray.sweep --list        every field, dataset, model, family, method and metric
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial

from unlearn_ray.cli import list as listing
from unlearn_ray.cli import plan, run, status
from unlearn_ray.cli.commands import add_version
from unlearn_ray.cli.sweep_files import sweep_arguments
from unlearn_ray.core.boundary import run_command
from unlearn_ray.core.errors import EXIT_STATUSES, Exit

_EXAMPLES = """\
examples:
  %(prog)s sweeps/quickstart.yaml
  %(prog)s plan sweeps/ac_cifar.yaml --store s3://bucket/unlearning
  %(prog)s sweeps/quickstart.yaml --set search.trials=12
  %(prog)s sweeps/ac_cifar.yaml --set budget.hours=20
  ray job submit --working-dir . -- %(prog)s sweeps/ac_cifar.yaml

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["status"]:
        return run_command(partial(_status, given[1:]), interrupted="")
    return run_command(partial(_main, given), run.INTERRUPTED)


def _main(given: list[str]) -> int:
    if given == ["plan"]:
        given = []  # without a file it explains itself, too
    if given[:1] == ["plan"]:
        return _plan(given[1:])
    options = _parser().parse_args(given)
    if options.list:
        return listing.run(options)
    if options.file is None:
        _parser().print_help(sys.stderr)
        return Exit.BAD_INPUT
    return run.run(options)


def _plan(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m unlearn_ray.sweep plan")
    plan.arguments(parser)
    return plan.run(parser.parse_args(given))


def _status(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m unlearn_ray.sweep status")
    status.arguments(parser)
    return status.run(parser.parse_args(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_ray.sweep",
        usage="%(prog)s FILE [--set KEY=VALUE] [--plugin MODULE_OR_FILE] [--store URL]\n"
        "           [--address ADDRESS] [--retry-failed]\n"
        "       %(prog)s plan FILE [--estimate] [--prices FILE] [...]\n"
        "       %(prog)s status STORE [SWEEP] [--watch [SECONDS]] [--json]",
        description=__doc__,
        epilog=_EXAMPLES + run.NOTES + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep_arguments(parser, file_needed=False)
    run.retry_argument(parser)
    parser.add_argument(
        "--list",
        action="store_true",
        help="list every field of a sweep file, and every part it can use",
    )
    add_version(parser)
    return parser


if __name__ == "__main__":
    # While a sweep runs, both end it cleanly; before and after, both end the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
