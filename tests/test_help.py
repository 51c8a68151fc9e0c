"""`--help` of every command answers at once: it imports nothing that takes its time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import unlearn_ray.sweep
from unlearn_ray.cli.commands import commands

# Whatever takes tenths of a second to import, and whatever needs those.
SLOW = {
    *("torch", "torchvision", "numpy", "pandas", "pyarrow", "ray", "optuna", "sklearn", "scipy"),
    *("boto3", "botocore", "duckdb", "open_clip", "PIL", "rich", "yaml"),
}

PROGRAM = """\
import json, runpy, sys

module, *arguments = sys.argv[1:]
sys.argv = [module, *arguments]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(sys.modules)]), file=sys.stderr)
"""


def words() -> Iterator[list[str]]:
    yield ["unlearn_ray.sweep"]
    assert unlearn_ray.sweep.__doc__ is not None
    for name in re.findall(r"unlearn_ray\.sweep ([a-z]+) ", unlearn_ray.sweep.__doc__):
        yield ["unlearn_ray.sweep", name]
    yield ["unlearn_ray.results"]
    for name in commands("unlearn_ray.cli.results"):
        yield ["unlearn_ray.results", "store", name]
    yield ["unlearn_ray"]
    for name in commands("unlearn_ray.cli"):
        yield ["unlearn_ray", name]


def test_they_are_all_commands() -> None:
    found = [" ".join(command) for command in words()]
    assert {"unlearn_ray.sweep plan", "unlearn_ray.sweep status"} <= set(found)
    assert {"unlearn_ray run", "unlearn_ray results", "unlearn_ray list"} <= set(found)
    assert {"unlearn_ray.results store query", "unlearn_ray.results store diff"} <= set(found)


@pytest.mark.parametrize("command", list(words()), ids=" ".join)
def test_help_imports_nothing_slow(command: list[str]) -> None:
    program = [sys.executable, "-c", PROGRAM, *command, "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr)
    assert code in (0, None)
    assert "usage: " in done.stdout
    assert {name.partition(".")[0] for name in modules}.isdisjoint(SLOW)
