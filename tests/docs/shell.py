"""Commands of pages: parsed by the programs' own parsers, and run where that takes seconds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.pages import ROOT
from tests.docs.world import World
from tests.takeaway.stores import MENDED
from unlearn_ray import results, sweep
from unlearn_ray.cli.commands import commands as found_commands
from unlearn_ray.cli.main import main, parser
from unlearn_ray.cli.plugin_option import load_plugins
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import Exit

# What pages leave to the reader.
PLACEHOLDERS = {"FILE": "sweep.yaml", "SWEEP": "quickstart", "STORE": "./store", "DIR": "folder"}
# `run` reads its sweep, and trains nothing; others serve or run tests, and are parsed alone.
RUN_HERE = {"list", "new", "plan", "results", "schema", "slurm", "status"}
_EXTRAS = re.compile(r"^(\w+) = \[", re.MULTILINE)
_TARGETS = re.compile(r"^(\w[\w-]*):", re.MULTILINE)


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each program's call in a line, without what its output goes to."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if set(word) <= set(";&|"):
            yield words
            words = []
        elif redirected:
            redirected = False
        elif word in (">", ">>"):
            redirected = True
        else:
            words.append(word)
    if words:
        yield words


def program_of(words: list[str]) -> str:
    """The name that `PROGRAMS` knows it by."""
    if words[:2] == ["python", "-m"]:
        return " ".join(words[:3])
    return "python" if words[0] == "python" else words[0]


def is_known(text: str) -> bool:
    """Whether the first word of a text is that of a known program."""
    words = text.split()
    return bool(words) and (program_of(words) in PROGRAMS)


def run_command(text: str, world: World) -> None:
    """Check each call of a line, and run what takes seconds, in the world's folder.

    Raises:
        AssertionError: a call that the program would refuse, or that failed.
    """
    for words in simple_commands(text):
        program = program_of(words)
        assert program in PROGRAMS, (
            f"no test runs {program!r}: teach tests/docs/shell.py, or write "
            "`<!-- not run: WHY -->` on the line before the block"
        )
        PROGRAMS[program](words, world)


def _own(words: list[str], world: World) -> None:
    arguments = _filled(words[1:], world)
    _accepted(lambda: parser(found_commands("unlearn_ray.cli")).parse_args(arguments), arguments)
    if arguments[0] == "run" and not _is_left_open(words):
        options = parser(found_commands("unlearn_ray.cli")).parse_args(arguments)
        load_plugins(options)
        load_sweep(options.file, options.set, options.store)
    elsewhere = any("://" in word for word in arguments)
    if arguments[0] in RUN_HERE and not elsewhere and "--watch" not in arguments:
        assert main(arguments) == Exit.DONE, f"unlearn-ray {shlex.join(arguments)}"


def _is_left_open(words: list[str]) -> bool:
    """Whether a file or folder of the reader's stands in capitals."""
    return any(re.search(r"=[A-Z]+$", word) for word in words)


def _sweep_module(words: list[str], world: World) -> None:
    arguments = _filled(words[3:], world)
    if arguments[:1] == ["status"]:
        _own(["unlearn-ray", *arguments], world)
    elif arguments[:1] == ["plan"] or arguments == ["--list"]:
        assert sweep.main(arguments) == Exit.DONE
    else:
        _accepted(lambda: sweep._parser().parse_args(arguments), arguments)


def _results_module(words: list[str], world: World) -> None:
    arguments = _filled(words[3:], world)
    assert results.main(arguments) == Exit.DONE, shlex.join(words)


def _filled(words: list[str], world: World) -> list[str]:
    """The words with a value in each place that a page leaves to the reader."""
    keys = iter(world.keys * 2)
    known = {**PLACEHOLDERS, "OTHER": str(world.other)}
    filled = [next(keys) if word == "KEY" else known.get(word, word) for word in words]
    asks = filled[:1] == ["results"] and "rm" in filled[2:3]
    return [*filled, "--yes"] if asks else filled


def _accepted(parse: Callable[[], object], arguments: list[str]) -> None:
    refused = ""
    try:
        parse()
    except SystemExit as ended:
        refused = shlex.join(arguments) if ended.code else ""
    assert refused == ""


def _make(words: list[str], _: World) -> None:
    targets = set(_TARGETS.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert set(words[1:]) <= targets, f"the Makefile has no target {set(words[1:]) - targets}"


def _pip(words: list[str], _: World) -> None:
    assert words[1] == "install"
    known = set(_EXTRAS.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    for before, word in pairwise(words[1:]):
        if not word.startswith("-") and before != "--index-url":
            wanted = Requirement(word)
            if canonicalize_name(wanted.name) == "unlearn-ray":
                assert wanted.extras <= known, f"no such extra: {wanted.extras - known}"


def _ray(words: list[str], world: World) -> None:
    """Parsed by Ray's own commands; of a job, what it runs is checked, too."""
    from ray.scripts.scripts import cli

    command: click.Command = cli
    name, *rest = words
    while isinstance(command, click.Group):
        name, *rest = rest
        assert name in command.commands, f"ray has no command {name}"
        command = command.commands[name]
    try:
        context = command.make_context(name, list(rest), resilient_parsing=False)
    except click.ClickException as refused:
        raise AssertionError(f"{shlex.join(words)}: {refused.message}") from None
    entrypoint = [*context.params.get("entrypoint", ())]
    if entrypoint and entrypoint != ["..."]:
        run_command(shlex.join(entrypoint), world)


def _export(words: list[str], _: World) -> None:
    assert all("=" in word for word in words[1:])


def _sbatch(words: list[str], world: World) -> None:
    """A job of SLURM, whose script a command before it has written."""
    (script,) = words[1:]
    assert (world.folder / script).is_file(), f"there is no {script}"


def _dashboard(words: list[str], world: World) -> None:
    """A server; `tests/results/test_optuna.py` looks at what it serves."""
    assert Path(sys.executable).with_name(words[0]).is_file()
    assert (world.folder / words[1]).is_file()


def _python(words: list[str], world: World) -> None:
    """A script that a command before it has written."""
    program = [sys.executable, "-c", MENDED, *words[1:]]
    done = subprocess.run(program, cwd=world.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _script(words: list[str], _: World) -> None:
    assert Path(ROOT / words[0]).is_file()


PROGRAMS: dict[str, Callable[[list[str], World], None]] = {
    "unlearn-ray": _own,
    "python -m unlearn_ray": lambda words, world: _own(words[2:], world),
    "python -m unlearn_ray.sweep": _sweep_module,
    "python -m unlearn_ray.results": _results_module,
    "python": _python,
    "make": _make,
    "pip": _pip,
    "ray": _ray,
    "export": _export,
    "sbatch": _sbatch,
    "optuna-dashboard": _dashboard,
    "cluster/local.sh": _script,
}
