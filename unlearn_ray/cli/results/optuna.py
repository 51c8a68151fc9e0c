"""`unlearn-ray results STORE optuna`: the searches as a journal that Optuna's tools read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.errors import BadInput, Exit, MachineError
from unlearn_ray.core.text_files import write_whole
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.reporting.optuna_journal import Journal

SUMMARY = "the searches as an Optuna journal: one study for each study, for optuna-dashboard"

_EPILOG = """\
Each study becomes the Optuna study SWEEP/STUDY. Its trials have the parameters with the ranges that
were searched, the mean score over the tuning seeds (one for each objective) as value, that of each
seed as intermediate value, and metrics, gaps and keys as user attributes. Trials that were stopped
are pruned; those that have not ended are left out.

examples:
  unlearn-ray results ./store optuna --output studies.log
  unlearn-ray results ./store optuna quickstart --output studies.log --overwrite
  optuna-dashboard studies.log

It takes the extra `optuna`: pip install 'unlearn_ray[optuna]'.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep, and where to."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "sweep", metavar="SWEEP", nargs="?", help="only this sweep (default: all in the store)"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the journal, a new file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if there is one")


def run(options: argparse.Namespace) -> int:
    """Write the journal, and say what is in it."""
    try:
        from unlearn_ray.reporting.optuna_journal import journal
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "optuna":
            raise
        remedy = "pip install 'unlearn_ray[optuna]'"
        raise MachineError("results optuna", "Optuna is not installed", remedy) from error
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds

    _check(options.output, overwrite=options.overwrite)
    store = readable(options.store)
    rows = rows_of(store, options.sweep)
    if rows is None:
        return Exit.DONE
    frame = rows.to_pandas()
    keys = set(frame.loc[frame["purpose"] == "tuning", "study_key"])
    made = journal(frame, store.study_identities(keys), tuning_seeds(manifests(store)))
    if not made.trials:
        raise BadInput("results optuna", "no trial has been run yet", "try again later")
    _write(made.data, options.output)
    _tell(made, options.output)
    return Exit.DONE


def _check(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise BadInput(f"--output {path}", "is a directory", "name a file to write")
    if path.exists() and not overwrite:
        reason = "this file exists, and may hold what was noted in a dashboard"
        raise BadInput(f"--output {path}", reason, "name a new file, or add --overwrite")


def _write(data: bytes, path: Path) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"--output {path}", reason, "name a file to write") from None


def _tell(made: Journal, path: Path) -> None:
    studies = counted(len(made.trials), "study", "studies")
    trials = counted(sum(made.trials.values()), "trial")
    say(f"written to {path}: {studies}, {trials}; look at it with: optuna-dashboard {path}")
    if made.unfinished:
        say(f"{counted(made.unfinished, 'trial')} left out, as they have not ended")
    for note in made.notes:
        say(note)
    if made.without_ranges:
        names = ", ".join(made.without_ranges)
        say(f"without parameters, as the store does not know what was searched: {names}")
