"""`unlearn-ray`: what it offers, and that each command is found in its folder."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.results.rows import small_sweep
from unlearn_ray.cli.commands import add_commands, commands
from unlearn_ray.cli.main import main
from unlearn_ray.core.errors import Exit
from unlearn_ray.storage.store import open_store

FOLDERS = ("unlearn_ray.cli", "unlearn_ray.cli.results")


def test_help_tells_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "unlearn-ray run " in text
    assert "exit status: 0 done" in text
    for name, command in commands(FOLDERS[0]).items():
        assert re.search(rf"^    {name}\b", text, re.MULTILINE)
        assert command.SUMMARY.split()[0] in text


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_command_is_a_module(folder: str) -> None:
    known = commands(folder)
    assert {"run", "compare"} & set(known)
    for command in known.values():
        assert command.SUMMARY.isprintable()
        assert callable(command.run)
        command.arguments(argparse.ArgumentParser(conflict_handler="resolve"))


@pytest.mark.parametrize(
    "words", [[], ["run"], ["plan"], ["status"], ["results"], ["results", "store", "compare"]]
)
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--version"])
    assert capsys.readouterr().out == f"unlearn_ray {version('unlearn_ray')}\n"


@pytest.mark.parametrize("words", [[], ["nothing"], ["run"], ["results", "store"], ["plan", "--x"]])
def test_what_is_no_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: unlearn-ray" in capsys.readouterr().err


def test_results_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = str(tmp_path / "store")
    opened = open_store(url)
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"row{number:03}", row)
    for words in (["--format", "csv", url, "best"], [url, "best", "--format", "csv"]):
        assert main(["results", *words]) == Exit.DONE
        assert capsys.readouterr().out.startswith("sweep,study,")
    assert main(["results", url, "compare", "--sweep", "smal"]) == Exit.BAD_INPUT
    assert "did you mean small?" in capsys.readouterr().err
    assert main(["results", f"{url}/none", "best"]) == Exit.STORE


class Export:
    """A command with an --output of its own."""

    SUMMARY = "write a model"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--output", metavar="DIR", default="here")

    def run(self, options: argparse.Namespace) -> int:
        return int(options.output != "here")


def test_a_command_may_have_a_common_option_of_its_own() -> None:
    def common(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--output", type=int, default=argparse.SUPPRESS)

    parser = argparse.ArgumentParser()
    common(parser)
    add_commands(parser, {"export": Export(), "again": Export()}, dest="name", common=common)
    assert parser.parse_args(["export", "--output", "there"]).output == "there"
    assert parser.parse_args(["again"]).output == "here"
    assert parser.parse_args(["--output", "1", "export", "--output", "b"]).output == "b"


def test_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unlearn_ray", "status", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.STORE
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
