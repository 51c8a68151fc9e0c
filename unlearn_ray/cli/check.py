"""`unlearn-ray check FILE`: the conformance suite on the parts of a plug-in."""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import EXIT_STATUSES, Exit, MachineError
from unlearn_ray.core.printable import printable_lines
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.core.registry import Part
    from unlearn_ray.testing.outcomes import Outcome

SUMMARY = "run the conformance suite on the parts in a file or module of your own"

_EPILOG = """\
examples:
  %(prog)s my_method.py
  %(prog)s my_package.methods

A method is tried with every family, on small models and images; that takes a minute or two. The
same tests in a test file: `test_mine = conformance_of(Mine)`, from unlearn_ray.testing.

"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file or module."""
    parser.epilog = _EPILOG + EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file", metavar="FILE", help="a file (my_method.py) or module (my_package.methods)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the outcome of each check; 1 if one fails."""
    from unlearn_ray.core import plugins

    if importlib.util.find_spec("pytest") is None:
        raise MachineError(
            "package pytest",
            "the conformance suite needs it, and it is not installed",
            "pip install 'unlearn_ray[testing]'",
        )
    plugins.give([options.file])
    failed = sum([_check(part) for part in plugins.parts_in_use()])
    if failed:
        print(f"{counted(failed, 'check')} failed")
    return Exit.SOME_FAILED if failed else Exit.DONE


def _check(part: type[Part]) -> int:
    """Print the outcomes of one part's checks; returns how many failed."""
    from unlearn_ray.testing.outcomes import outcomes_of

    print(f"{part.kind.replace('_', ' ')} {part.name}", flush=True)
    failed = 0
    for name, outcomes in groupby(outcomes_of(part), key=lambda outcome: outcome.check.name):
        found = list(outcomes)
        bad = [outcome for outcome in found if outcome.state == "failed"]
        failed += len(bad)
        _show(name, found, bad)
    return failed


def _show(name: str, found: list[Outcome], bad: list[Outcome]) -> None:
    """A line for a requirement, and what was said of each case that failed."""
    cases = ", ".join(each.check.case for each in found if each.state != "failed")
    state = "FAILED" if bad else found[0].state if len(found) == 1 else "passed"
    told = f"  {state:7} {name.replace('_', ' ')}" + (f" ({cases})" if cases else "")
    print(textwrap.fill(told, width=100, subsequent_indent=11 * " "), flush=True)
    for each in bad:
        where = f"{each.check.case}: " if each.check.case else ""
        print(printable_lines(textwrap.indent(f"{where}{each.said}", 10 * " ")), flush=True)
