"""`unlearn-ray new KIND NAME`: a part of your own that works, a sweep that uses it, and a test."""

from __future__ import annotations

import argparse
import keyword
import re
import shlex
import sys
from pathlib import Path

from unlearn_ray.cli.templates import PARTS, SWEEPS, TEST
from unlearn_ray.core.errors import EXIT_STATUSES, BadInput, Exit, shown
from unlearn_ray.core.modules import locate

SUMMARY = "write a method, metric, dataset or model of your own to start from, with sweep and test"

_EPILOG = """\
examples:
  %(prog)s method my_method
  %(prog)s dataset my_images --folder lab

It writes NAME.py, NAME.yaml and test_NAME.py, and never replaces a file. The part works as it is:
change it bit by bit.

"""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The kind, the name, and where to write."""
    parser.epilog = _EPILOG + EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", choices=sorted(PARTS), metavar="KIND", help=", ".join(PARTS))
    parser.add_argument("name", metavar="NAME", help="in small letters, digits and `_`")
    parser.add_argument(
        "--folder", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the three files, and say what to do with them.

    Raises:
        BadInput: the name cannot be used, or one of the files exists.
    """
    kind, name, folder = options.kind, options.name, options.folder
    _check_name(name, folder)
    _check_unknown(kind, name)
    words = {"name": name, "cls": name.title().replace("_", ""), "title": _title(name)}
    files = {
        folder / f"{name}.py": PARTS[kind],
        folder / f"{name}.yaml": SWEEPS[kind],
        folder / f"test_{name}.py": TEST,
    }
    for path in files:
        if path.exists():
            raise BadInput(f"{path}", "this file exists", "choose another name or --folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, template in files.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(template.safe_substitute(words))
        print(f"wrote {path}")
    part, sweep, test = (shlex.quote(str(path)) for path in files)
    print(f"\ncheck it:   unlearn-ray check {part}    (or: pytest {test})")
    print(f"look:       unlearn-ray plan {sweep}")
    print(f"run it:     unlearn-ray run {sweep}")
    return Exit.DONE


def _check_name(name: str, folder: Path) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        reason = "a name has small letters, digits and single `_`, and starts with a letter"
        raise BadInput(f"NAME = {shown(name)}", reason, "write my_method, for one")
    place = locate(name)
    elsewhere = place is not None and (
        place.file is None or place.file.resolve().parent != folder.resolve()
    )
    if elsewhere or name in sys.stdlib_module_names:
        reason = "an installed package or module of Python has this name"
        raise BadInput(f"NAME = {name}", reason, "choose another one")


def _check_unknown(kind: str, name: str) -> None:
    """Refuse the name of a part that there is."""
    from unlearn_ray.core.registry import parts
    from unlearn_ray.data.base import Dataset
    from unlearn_ray.methods.base import Method
    from unlearn_ray.metrics.base import Metric
    from unlearn_ray.models.base import Model

    for contract in (Dataset, Method, Metric, Model):
        if contract.kind == kind and name in parts(contract):
            raise BadInput(f"NAME = {name}", f"there is a {kind} of this name", "choose another")


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
