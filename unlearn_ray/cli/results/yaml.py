"""`unlearn-ray results STORE yaml`: a sweep's file, as it was run or with its winners fixed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import BadInput, Exit, listed
from unlearn_ray.core.printable import printable_lines
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.monitor.kept_sweeps import KeptSweep

SUMMARY = "a sweep's file as it was run, or with every winner's values fixed"

_RELEASED = Path("sweeps/best")
_EXAMPLES = """\
The file is that of the sweep's last start: overrides applied, every default written out. Fields
that a study leaves at its method's defaults stand in comments, since values would be another study.

--winner prints a sweep that searches nothing: each study's fields have the values of its best
trial, with notes of where they come from. Run on the same store, it trains nothing.

examples:
  unlearn-ray results ./store yaml quickstart
  unlearn-ray results ./store yaml quickstart --winner --output winners.yaml
  unlearn-ray run winners.yaml --store ./elsewhere
  unlearn-ray results ./store yaml quickstart --winner --release
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--winner", action="store_true", help="fix what was searched to the winners' values"
    )
    what.add_argument(
        "--as-written", action="store_true", help="the text of the file, without overrides"
    )
    parser.add_argument(
        "--key", metavar="KEY", help="an earlier version of the file, by the start of its key"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file")
    parser.add_argument(
        "--release",
        type=Path,
        nargs="?",
        const=_RELEASED,
        metavar="FOLDER",
        help="with --winner: write FOLDER/<dataset>-<family>-<forget set>.yaml, without the store "
        f"(default: {_RELEASED})",
    )


def run(options: argparse.Namespace) -> int:
    """Print or write the file."""
    from unlearn_ray.monitor.kept_sweeps import kept_sweeps
    from unlearn_ray.monitor.winners import file_name, winners_text
    from unlearn_ray.storage.store import open_store

    if options.release and not options.winner:
        raise BadInput("--release", "only winners are released", "add --winner")
    if options.release and options.output:
        raise BadInput("--release", "it names the file itself", "leave out --output")
    store = open_store(options.store)
    store.check_readable()
    versions = kept_sweeps(store, options.sweep)
    kept = _version(versions, options.key)
    output = options.output
    if options.winner:
        text = winners_text(kept, store, release=options.release is not None)
        output = options.release / file_name(kept) if options.release else output
    elif options.as_written:
        text = kept.file
        if not text:
            raise BadInput(f"sweep {kept.name}", "it was not run from a file", "omit --as-written")
    else:
        text = f"# Sweep {kept.name}, last started {kept.started[:19]}Z; version {kept.key}.\n"
        text += kept.yaml
    _write(text, output)
    if len(versions) > 1 and options.key is None:
        others = listed(one.key for one in versions[1:])
        older = counted(len(versions) - 1, "earlier version")
        sys.stderr.write(f"{older} of the file in the store: --key {others}\n")
    return Exit.DONE


def _version(versions: list[KeptSweep], key: str | None) -> KeptSweep:
    matching = [one for one in versions if key is None or one.key.startswith(key)]
    if not matching or (key is not None and len(matching) > 1):
        reason = "several versions start with it" if matching else "no version starts with it"
        known = listed((one.key for one in versions), 20)
        raise BadInput(f"--key {key}", reason, f"the versions are {known}")
    return matching[0]


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(printable_lines(text) if sys.stdout.isatty() else text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"--output {output}", reason, "name a file to write") from None
    sys.stderr.write(f"written to {output}\n")
