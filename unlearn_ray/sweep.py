"""Run a sweep of unlearning methods: from a YAML file to a result table.

python -m unlearn_ray.sweep FILE          run what the store does not hold yet, print the table
python -m unlearn_ray.sweep plan FILE     show what would run, and run nothing
python -m unlearn_ray.sweep status STORE  show the progress of sweeps on a store, from any machine
python -m unlearn_ray.sweep --list        every field, dataset, model, family, method and metric
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

# --help waits for these imports, and PyTorch alone takes seconds.
from unlearn_ray.core.boundary import one_line, run_command
from unlearn_ray.core.errors import EXIT_STATUSES, BadInput, Exit, TrialError
from unlearn_ray.core.printable import printable
from unlearn_ray.core.words import counted
from unlearn_ray.reporting.status_command import status

if TYPE_CHECKING:
    from rich.console import Console

    from unlearn_ray.scheduling.driver import Tally
    from unlearn_ray.storage.store import Store
    from unlearn_ray.studies.plan import Plan

_INTERRUPTED = "Interrupted; run the same command to resume."

_EPILOG = """\
examples:
  python -m unlearn_ray.sweep sweeps/quickstart.yaml
  python -m unlearn_ray.sweep plan sweeps/ac_cifar.yaml --store s3://bucket/unlearning
  python -m unlearn_ray.sweep sweeps/quickstart.yaml --set search.trials=12
  python -m unlearn_ray.sweep sweeps/ac_cifar.yaml --set budget.hours=20
  ray job submit --working-dir . -- python -m unlearn_ray.sweep sweeps/ac_cifar.yaml

The same command resumes a sweep that was stopped, killed or crashed: steps and trials that are
in the store are never run again.

S3-compatible stores take credentials, endpoint and region from the usual AWS environment
variables or profile; s3://bucket/prefix?endpoint=http://host:9000 names an endpoint.

Under `methods`, `finetune: {epochs: 5}` is a study of that method. To have several studies of one
method, give each a name of your own, as in `short: {finetune: {epochs: 1}}`. Rows and tables use
these names, and --set methods.short.finetune.epochs=2 changes one study.

Once budget.hours accelerator hours are spent, no further trial is launched; the best trials so
far are run on the reporting seeds, and the table is printed. Raise the budget and run the same
command to continue the search.

With sparsity: {method: omp, fraction: 0.95} (or imp, synflow) that fraction of the backbone's
weights is zero in both reference models, and stays zero under every method. omp and imp train the
dense model first, which a dense sweep shares; imp then trains again after each pruning of 20 %.

An error in a step's code is never retried: a trial's row reports it, and the plan does for a
reference step; its traceback is kept in the store. Once the cause is fixed, --retry-failed runs
reference steps again. A lost worker is replaced up to resources.*.retries times.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["status"]:
        return run_command(partial(status, given[1:]), interrupted="")
    return run_command(partial(_main, given), _INTERRUPTED)


def _main(given: list[str]) -> int:
    plan_only = given[:1] == ["plan"]
    options = _parser().parse_args(given[1:] if plan_only else given)
    if options.list:
        from unlearn_ray.config.describe import describe_parts

        print(describe_parts())
        return Exit.DONE
    if options.file is None:
        _parser().print_help(sys.stderr)
        return Exit.BAD_INPUT
    return _show(options) if plan_only else _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_ray.sweep",
        usage="%(prog)s [plan] FILE [--set KEY=VALUE] [--store URL] [--address ADDRESS]\n"
        "           [--retry-failed]\n"
        "       %(prog)s status STORE [SWEEP] [--watch [SECONDS]] [--json]",
        description=__doc__,
        epilog=_EPILOG + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the sweep, in YAML")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a field, e.g. search.trials=12; may be repeated",
    )
    parser.add_argument(
        "--store", metavar="URL", help="a folder or s3://bucket/prefix, instead of the file's"
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="a running Ray cluster (auto, host:port); default: the one that RAY_ADDRESS "
        "names, or else a local one that ends with the sweep",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="run failed reference steps again, once their cause is fixed",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="list every field of a sweep file, and every part it can use",
    )
    parser.add_argument("--version", action="version", version=f"unlearn_ray {_version()}")
    return parser


def _version() -> str:
    try:
        return version("unlearn_ray")
    except PackageNotFoundError:
        return "(not installed)"  # run from its source


def _planned(options: argparse.Namespace) -> tuple[Plan, Store]:
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.plan import make_plan

    sweep = load_sweep(options.file, options.set, options.store)
    store = open_store(sweep.store)
    return make_plan(sweep, store), store


def _show(options: argparse.Namespace) -> int:
    from unlearn_ray.reporting.plan_view import plan_view

    plan, store = _planned(options)
    print(plan_view(plan, store.url))
    for warning in _never_placed(plan, options.address):
        print(f"warning: {warning}", file=sys.stderr)
    return Exit.DONE


def _never_placed(plan: Plan, address: str | None) -> list[BadInput]:
    """What could never be placed on the cluster at `address`, or else on this machine."""
    from unlearn_ray.scheduling.environment import prepare, this_machine_lacks

    if address is None:
        return this_machine_lacks(plan.asks)
    prepare(address)
    from unlearn_ray.scheduling.driver import never_placed

    return never_placed(plan, address)


def _run(options: argparse.Namespace) -> int:
    _say_meanwhile(f"reading {options.file}")
    from rich.console import Console

    out, err = Console(), Console(stderr=True)
    plan, store = _planned(options)
    if options.retry_failed and plan.failed_references:
        from unlearn_ray.studies.plan import make_plan

        failed_steps = [planned.step for planned in plan.failed_references]
        store.failures.forget((step.name, step.key) for step in failed_steps)
        plan = make_plan(plan.sweep, store)
    failed = sum(study.failed for study in plan.studies)
    ended = sum(min(study.ended, study.wanted) for study in plan.studies)
    if plan.failed_references:
        return _report_failed(plan, store, out, [f"{p.failure}" for p in plan.failed_references])
    if plan.complete:
        steps, trials = counted(len(plan.references), "reference step"), counted(ended, "trial")
        _say(f"Nothing to train: all {steps} and {trials} of {plan.sweep.name} are in {store.url}.")
    else:
        _check_before_spending(plan, store, options.address)
        with _interruptible() as stop:
            try:
                tally = _train(plan, store, options.address, err, stop)
            except TrialError as error:
                return _report_failed(plan, store, out, [f"{error}"])
        if stop.is_set():
            _say(_INTERRUPTED)
            return Exit.INTERRUPTED
        failed += tally.trials_failed
        ended = tally.trials_ended
    _print_table(plan, store, out, ended)
    out.file.flush()  # what cannot be written is an error, not a result
    url = shlex.quote(store.url)
    _say(f"Every row is in {store.url}; to query them: python -m unlearn_ray.results {url} --help")
    return Exit.SOME_FAILED if failed else Exit.DONE


def _report_failed(plan: Plan, store: Store, out: Console, failures: list[str]) -> int:
    """Report failed reference steps, which block every study, and print what there is."""
    from unlearn_ray.studies.plan import RETRY

    more = f"; and {counted(len(failures) - 1, 'more reference step')}" if failures[1:] else ""
    first = one_line(failures[0])
    _say(f"error: {first}{more}; {RETRY}")
    _print_table(plan, store, out, 0, failure=first)
    return Exit.SOME_FAILED


def _check_before_spending(plan: Plan, store: Store, address: str | None) -> None:
    """Fail now on what would otherwise end the sweep after models have been trained."""
    from unlearn_ray.config.data_check import check_data
    from unlearn_ray.monitor.manifest import announce
    from unlearn_ray.scheduling.environment import prepare

    prepare(address)
    store.check_writable()
    store.remove_leftovers()
    _say_meanwhile(f"checking the data of {plan.sweep.name}")
    check_data(plan.sweep)
    if plan.sweep.log:
        # These need Tune, which takes seconds to import.
        from unlearn_ray.scheduling.loggers import check_loggers

        check_loggers(plan.sweep)
    announce(plan, store)


def _train(
    plan: Plan, store: Store, address: str | None, err: Console, stop: threading.Event
) -> Tally:
    from unlearn_ray.reporting.progress import SweepProgress
    from unlearn_ray.reporting.progress_view import ending, shown

    progress = SweepProgress(plan.sweep.name, doing="starting Ray")
    # Ray prints the cluster's warnings to stdout, which is reserved for the table.
    with shown(progress, err), redirect_stdout(sys.stderr):
        # Ray and Tune take seconds to import; a plan and a finished sweep need neither.
        from unlearn_ray.scheduling.driver import run_sweep

        tally = run_sweep(plan, store, address=address, progress=progress, stop=stop)
    if not stop.is_set():
        _say(ending(progress))
    return tally


def _print_table(
    plan: Plan, store: Store, out: Console, ended: int, failure: str | None = None
) -> None:
    import pandas as pd

    from unlearn_ray.metrics.base import counted_columns
    from unlearn_ray.reporting.render import plain_text, rich_view
    from unlearn_ray.reporting.table import comparison
    from unlearn_ray.studies.plan import sweep_rows

    rows = [row for row in sweep_rows(plan.sweep, store) if row["sweep"] == plan.sweep.name]
    if not rows:
        return  # the failed step was run by another sweep
    table = comparison(
        pd.DataFrame(rows),
        studies=[study.name for study in plan.sweep.studies],
        counted=counted_columns(plan.sweep.metrics),
        measured=[column for metric in plan.sweep.metrics for column in metric.columns],
        tuning={study.key: plan.sweep.seeds.tuning for study in plan.studies},
    )
    wanted = sum(study.wanted for study in plan.studies)
    if failure is not None:
        note = f"failed: {failure}"
        lines = (line if line.runs else replace(line, note=note) for line in table.lines)
        table = replace(table, lines=tuple(lines))
    elif ended < wanted:
        hours = plan.sweep.budget.hours
        note = (
            f"{wanted - ended} of {counted(wanted, 'trial')} not run; run the sweep again"
            if hours is None
            else f"budget of {hours:g} h spent after {ended} of {counted(wanted, 'trial')}"
        )
        table = replace(table, notes=(*table.notes, note))
    if sys.stdout.isatty():
        out.print(rich_view(table, out.width))
    else:
        print(plain_text(table))


def _say_meanwhile(text: str) -> None:
    """Announce what is about to take seconds, on a terminal only."""
    if sys.stderr.isatty():
        _say(text)


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event; a second one ends the process as usual."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    # While a sweep runs, both end it cleanly; before and after, both end the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
