"""The commands with each thing around them broken in turn: one line, and a status that says whose.

A command works, or ends with one line that says value, reason and remedy; never with a traceback,
never by a signal, and never with the status of an error of this program.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.surroundings import SURROUNDINGS
from unlearn_ray import sweep
from unlearn_ray.cli.commands import commands
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

FILE, STORE = "tiny.yaml", "store"
# Of each command its arguments, in a folder with a sweep file and the store of the finished sweep.
SWEEP_COMMANDS = {
    "run": [FILE, "--store", STORE],
    "plan": ["plan", FILE, "--store", "größe"],
    "status": ["status", STORE],
}
RESULTS_COMMANDS: dict[str, list[str]] = {
    "query": ["SELECT *, 'größe' AS name FROM rows", "--format", "csv"],
    "best": [],
    "compare": [],
    "power": ["tiny"],
    "memorisation": ["tiny.yaml"],
    "diff": ["KEY", "OTHER"],
    "compact": [],
    "clean": ["--dry-run"],
    "export": ["tiny", "--output", "exported"],
    "show": ["KEY"],
    "rerun": ["KEY"],
    "yaml": ["tiny"],
}
# Each takes seconds, in every surrounding, or changes the store: their own tests have them.
ELSEWHERE = {"report", "optuna", "list", "du", "gc", "rm", "merge"}
Cases = dict[str, tuple[str, list[str]]]
DONE = {Exit.DONE}
# How lines begin that are printed before an error may be met.
PROGRESS = ("Nothing to train", "running ", "warning: ")
# Where it is known which.
EXPECTED = {
    ("stdout full", "plan"): {Exit.MACHINE},
    ("stdout full", "query"): {Exit.MACHINE},
    ("no reader", "plan"): DONE,
    ("no reader", "query"): DONE,
    ("ASCII", "query"): DONE,
    ("no working folder", "plan"): {Exit.MACHINE},
    ("no home, no passwd entry", "plan"): DONE,
    ("no home, no passwd entry", "status"): DONE,
    ("a store that this user may not read", "status"): {Exit.STORE},
    ("no duckdb", "query"): {Exit.MACHINE},
    ("RAY_ADDRESS empty", "plan"): DONE,
    ("COLUMNS garbage", "compare"): DONE,
}


class Forks:
    """The process of `tests/surroundings.py`."""

    def __init__(self, template: Path) -> None:
        self.template = template
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.surroundings"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, surrounding: str, command: str, arguments: list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        case = [str(self.template), surrounding, command, arguments]
        self.process.stdin.write(f"{json.dumps(case)}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def forks(finished_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    folder = tmp_path_factory.mktemp("announced")
    shutil.copytree(finished_sweep, folder, dirs_exist_ok=True)
    store = open_store(str(folder / STORE))
    announce(make_plan(load_sweep(folder / FILE), store), store)
    forks = Forks(folder)
    yield forks
    forks.end()


@pytest.fixture(scope="module")
def cases(finished_sweep: Path) -> Cases:
    """The program and the arguments of every command."""
    keys = sorted(path.stem for path in (finished_sweep / STORE / "records").rglob("*.json"))
    named = {"KEY": keys[0], "OTHER": keys[1]}
    return {name: ("sweep", arguments) for name, arguments in SWEEP_COMMANDS.items()} | {
        name: ("results", [STORE, name, *(named.get(each, each) for each in arguments)])
        for name, arguments in RESULTS_COMMANDS.items()
    }


def test_every_command_is_walked() -> None:
    assert set(commands("unlearn_ray.cli.results")) == {*RESULTS_COMMANDS, *ELSEWHERE}
    usage = sweep._parser().format_usage()
    assert set(re.findall(r"(?m)sweep (?:\[?(\w+)\]?) [A-Z]", usage)) | {"run"} == set(
        SWEEP_COMMANDS
    )


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_a_broken_surrounding(surrounding: str, forks: Forks, cases: Cases) -> None:
    """Planning, and in turn two of the other commands."""
    others = [name for name in cases if name != "plan"]
    number = list(SURROUNDINGS).index(surrounding)
    known = [name for where, name in EXPECTED if where == surrounding]
    turn = {others[(2 * number + each) % len(others)] for each in range(2)}
    for name in {"plan", *known, *turn}:
        walk(surrounding, name, forks, cases)


@pytest.mark.slow
@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_every_command_in_a_broken_surrounding(
    surrounding: str, forks: Forks, cases: Cases
) -> None:
    for name in cases:
        walk(surrounding, name, forks, cases)


def walk(surrounding: str, name: str, forks: Forks, cases: Cases) -> None:
    command, arguments = cases[name]
    ended = forks.run(surrounding, command, arguments)
    status, err = ended["status"], ended["err"]
    where = f"{surrounding}: {name}: {ended}"
    assert status in EXPECTED.get((surrounding, name), set(Exit) - {Exit.INTERNAL}), where
    assert "Traceback" not in err, where
    if surrounding == "all closed":
        return
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (status not in (Exit.DONE, Exit.INTERRUPTED)), where
    for error in errors:
        assert re.fullmatch(r"error: .+: .+; .+", error), where
        said = [line for line in err.splitlines() if not line.startswith(PROGRESS)]
        assert said == [error], where
