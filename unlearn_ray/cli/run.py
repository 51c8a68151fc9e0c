"""`unlearn-ray run FILE`: run what the store does not hold yet, and print the table."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from unlearn_ray.cli.sweep_files import planned, sweep_arguments
from unlearn_ray.cli.webhook import VARIABLE, told, webhook
from unlearn_ray.core.boundary import one_line
from unlearn_ray.core.errors import EXIT_STATUSES, Exit, StoreError, TrialError
from unlearn_ray.core.printable import printable
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from rich.console import Console

    from unlearn_ray.scheduling.driver import Tally
    from unlearn_ray.storage.store import Store
    from unlearn_ray.studies.plan import Plan

SUMMARY = "run what the store does not hold yet, and print the table of results"
INTERRUPTED = "Interrupted; run the same command to resume."

_EXAMPLES = """\
examples:
  %(prog)s sweeps/quickstart.yaml
  %(prog)s sweeps/quickstart.yaml --set search.trials=12
  %(prog)s sweeps/ac_cifar.yaml --store s3://bucket/unlearning --set budget.hours=20
  ray job submit --working-dir . -- python -m unlearn_ray.sweep sweeps/ac_cifar.yaml

"""

NOTES = """\
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
dense model first, which a dense sweep shares; imp then trains again after each pruning of 20 %%.

An error in a step's code is never retried: a trial's row reports it, and the plan does for a
reference step; its traceback is kept in the store. Once the cause is fixed, --retry-failed runs
reference steps again. A lost worker is replaced up to resources.*.retries times.

"""
_WEBHOOK = f"""\
If {VARIABLE} is an http:// or https:// address, a JSON object that says how the sweep ended is
sent there (POST); what is not taken there fails no sweep.

"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what overrides its fields, and --retry-failed."""
    parser.epilog = _EXAMPLES + NOTES + _WEBHOOK + EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sweep_arguments(parser)
    retry_argument(parser)


def retry_argument(parser: argparse.ArgumentParser) -> None:
    """--retry-failed."""
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="run failed reference steps again, once their cause is fixed",
    )


def run(options: argparse.Namespace) -> int:
    """Run what the store does not hold yet, and print the table; returns the exit status."""
    _say_meanwhile(f"reading {options.file}")
    from rich.console import Console

    from unlearn_ray.config.bundled import sweep_path
    from unlearn_ray.config.yaml_file import file_text
    from unlearn_ray.studies.plan import retried

    out, err = Console(), Console(stderr=True)
    hook = webhook()
    plan, store = planned(options)
    if options.retry_failed:
        plan = retried(plan, store)
    failed = sum(study.failed for study in plan.studies)
    ended = sum(min(study.ended, study.wanted) for study in plan.studies)
    if plan.failed_references:
        return _report_failed(plan, store, out, [f"{p.failure}" for p in plan.failed_references])
    if plan.complete:
        steps, trials = counted(len(plan.references), "reference step"), counted(ended, "trial")
        _say(f"Nothing to train: all {steps} and {trials} of {plan.sweep.name} are in {store.url}.")
    else:
        with told(hook, plan.sweep.name, store.url) as summary:
            check_before_spending(plan, store, options.address, file_text(sweep_path(options.file)))
            with interruptible() as stop:
                try:
                    tally = train(plan, store, options.address, err, stop)
                except TrialError as error:
                    summary.failed(error)
                    return _report_failed(plan, store, out, [f"{error}"])
            if stop.is_set():
                summary.state = "interrupted"
                _say(INTERRUPTED)
                return Exit.INTERRUPTED
            failed += tally.trials_failed
            ended = tally.trials_ended
            summary.ended(ended, failed)
    keep_models(plan, store)
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


def check_before_spending(plan: Plan, store: Store, address: str | None, text: str = "") -> None:
    """Fail now on what would otherwise end the sweep after models have been trained.

    Args:
        plan: of the sweep.
        store: that it runs on.
        address: of a Ray cluster.
        text: of the sweep file, to be kept; empty for a sweep without a file.
    """
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
    announce(plan, store, text)


def train(
    plan: Plan, store: Store, address: str | None, err: Console, stop: threading.Event
) -> Tally:
    """Run what a plan lists, and show its progress; returns early once `stop` is set.

    Raises:
        UnlearnRayError: a reference step, the store or the cluster failed.
    """
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


def keep_models(plan: Plan, store: Store) -> None:
    """Remove the models of a sweep that has ended which its `keep.models` does not name.

    What other sweeps refer to stays, and all while another driver runs this one.
    """
    models = plan.sweep.keep.models
    if models == "all":
        return
    from unlearn_ray.keeping.collection import collect

    _say_meanwhile(f"removing models of trials but {models}")
    try:
        found = collect(store, models, sweep=plan.sweep.name, why=f"keep.models {models}")
    except StoreError as error:
        # The results are there; the next run, or gc, removes them.
        _say(f"warning: no models were removed: {one_line(str(error))}")
        return
    if found.artifacts:
        count = counted(len(found.artifacts), "artifact")
        _say(f"removed {count} of trials ({found.size / 1e6:,.1f} MB): keep.models is {models}")


def _print_table(
    plan: Plan, store: Store, out: Console, ended: int, failure: str | None = None
) -> None:
    import pandas as pd

    from unlearn_ray.core.gaps import counted_columns
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
def interruptible() -> Iterator[threading.Event]:
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
