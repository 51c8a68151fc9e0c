"""Every block of every page is run, or says why not.

A page is a program: its blocks are run in order, by their language (`RUNNERS`), in a folder with a
finished store. One that is not has a comment on the line before its fence, which no reader sees:

    <!-- not run: needs an account of AWS -->
    <!-- run by: tests/docs/test_erasure_request.py -->
"""

from __future__ import annotations

import doctest
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks_of, commands, marked_lines, pages
from tests.docs.shell import is_known, run_command
from tests.docs.stand_ins import names_of, write_files
from tests.docs.sweep_blocks import planned, sweeps
from tests.docs.world import World, made
from unlearn_ray.cli.main import main
from unlearn_ray.core.errors import Exit
from unlearn_ray.results import main as results

PAGES = [page for page in pages() if blocks_of(page)]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
Run = Callable[[Block, World, pytest.CaptureFixture[str]], None]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Of all tests: not to be changed."""
    return made(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(whole: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plugins: None) -> World:
    """A copy, which is the working directory."""
    own = whole.copied(tmp_path / "world")
    monkeypatch.chdir(own.folder)
    monkeypatch.setenv("UNLEARN_RAY_CACHE", "cache")
    monkeypatch.syspath_prepend(own.folder)
    return own


def _shell(block: Block, world: World, _: pytest.CaptureFixture[str]) -> None:
    for command in commands(block):
        run_command(command, world)


def _console(block: Block, _: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands after `$ unlearn-ray`, each with what it prints; `...` stands for anything."""
    parts = re.split(r"^\$ unlearn-ray ", block.text, flags=re.MULTILINE)[1:]
    assert parts, "a console has lines that begin with `$ unlearn-ray `"
    for part in parts:
        command, wanted = part.split("\n", 1)
        capsys.readouterr()
        main(shlex.split(command))
        printed = "".join(capsys.readouterr())
        loosely = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(wanted, printed, loosely), printed


def _yaml(block: Block, world: World, _: pytest.CaptureFixture[str]) -> None:
    for text in sweeps(write_files(block.text, world.folder)):
        planned(text, world.folder)


def _python(block: Block, world: World, _: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.text, block.place, "exec"), names_of(block.page))


def _sql(block: Block, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert results(["./store", "query", block.text, "--format", "json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out), "the query finds nothing in the tests' store"


def _toml(block: Block, _: World, __: pytest.CaptureFixture[str]) -> None:
    tomllib.loads(block.text)


RUNNERS: dict[str, Run] = {
    "bash": _shell,
    "console": _console,
    "python": _python,
    "sh": _shell,
    "sql": _sql,
    "toml": _toml,
    "yaml": _yaml,
}


def runner(block: Block) -> Run | None:
    """What runs the block; one without a language is commands if it begins with one."""
    if not block.kind and is_known(block.text):
        return _shell
    return RUNNERS.get(block.kind)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(page: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Its blocks in order, in one folder: later ones find what earlier ones have written."""
    for block in blocks_of(page):
        if block.file is not None:
            (world.folder / block.file).write_text(block.text, encoding="utf-8")
        if block.marks:
            continue
        run = runner(block)
        assert run is not None, (
            f"{block.place}: a block of {block.kind or 'no language'} is not run: give it one of "
            f"the languages {', '.join(RUNNERS)}, or write `<!-- not run: WHY -->` on the line "
            "before it"
        )
        try:
            run(block._replace(text=block.text.replace("3fa9", world.keys[0])), world, capsys)
        except BaseException as error:
            error.add_note(f"in the block at {block.place}")
            raise


def test_there_are_blocks_of_every_page_that_has_fences() -> None:
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/search.md", "cluster/README.md"}
    for page in pages():
        fences = re.findall(r"^ *(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_mark_is_one_of_a_block(page: Path) -> None:
    known = sum(len(block.marks) for block in blocks_of(page))
    comments = [line for line in marked_lines(page).values() if "run" in line]
    assert len(comments) == known, f"{page}: a mark is right before a block, and gives a reason"


def test_what_runs_a_block_elsewhere_is_a_test_of_its_page() -> None:
    for block in BLOCKS:
        if (file := block.mark("run by")) is not None:
            path = ROOT / file
            assert path.is_file(), f"{block.place}: there is no {file}"
            assert path.name.startswith("test_"), f"{block.place}: {file} is no test"
            assert Path(block.page).stem in path.read_text(encoding="utf-8"), block.place
