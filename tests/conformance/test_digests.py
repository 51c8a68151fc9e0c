"""Nobody edits a built-in part or step without saying whether its numbers changed."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

import unlearn_ray
from tests.conformance import digests
from unlearn_ray.core.code import digest
from unlearn_ray.core.registry import parts

ROOT = Path(__file__).parents[2]
COVERED = digests.covered()
REMEDY = """
Does any of these give other numbers than before? Raise its `revision`, the class attribute
(`revision: ClassVar[int] = 2`).
Then, or if none does, accept the code as it is, and commit the file that this writes:

    make digests
"""


def test_code_is_that_of_its_revision() -> None:
    current = digests.current()
    for name in current.keys() - digests.recorded().keys():
        # What is not committed has no numbers yet that others rely on.
        if name.partition("/")[2] in uncommitted():
            del current[name]
    changed = list(digests.differences(digests.recorded(), current))
    assert not changed, "\n".join(["", *changed, REMEDY])


@cache
def uncommitted() -> set[str]:
    """Names of the parts in files that git does not know."""
    git = ["git", "ls-files", "--others", "unlearn_ray"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    modules = {file.removesuffix(".py").replace("/", ".") for file in done.stdout.splitlines()}
    return {
        name
        for contract in digests.CONTRACTS
        for name, part in parts(contract).items()
        if part.__module__ in modules
    }


def test_every_module_is_in_some_digest() -> None:
    covered = {module for _, sources in COVERED.values() for module in sources}
    rooms = [f"unlearn_ray.{room}" for room in digests.COVERED]
    code = {
        module.name
        for module in pkgutil.walk_packages(unlearn_ray.__path__, "unlearn_ray.")
        if any(digests.within(module.name, room) for room in rooms)
        and digests.located(module.name).ours
        and digests.text_of(digests.located(module.name)).strip()
    }
    assert code - covered == set(digests.UNCOVERED)


@cache
def edited(text: str) -> str:
    """Other comments, docstrings and layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            old = ast.get_docstring(node)
            if old is not None:
                node.body[0] = ast.Expr(ast.Constant(f"{old} And more."))
    remark = "# A remark.\n"
    # Unparsing leaves out the old comments and breaks lines elsewhere.
    return remark + ast.unparse(tree) + "\n\n" + remark


@cache
def other_number(text: str) -> str | None:
    """One number is larger, or one truth another; None if there is none."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            node.value = not node.value
            return ast.unparse(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            node.value += 1
            return ast.unparse(tree)
    return None


@pytest.mark.parametrize("name", COVERED)
def test_only_what_is_run_counts(name: str) -> None:
    _, sources = COVERED[name]
    before = digest(sources)
    assert digest({module: edited(text) for module, text in sources.items()}) == before
    with_numbers = {module: other_number(text) for module, text in sources.items()}
    assert any(with_numbers.values())
    for module, text in with_numbers.items():
        if text is not None:
            assert digest({**sources, module: text}) != before


def test_the_command_accepts_and_says_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(digests, "RECORDED", tmp_path / "digests.json")
    assert digests.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(digests.current())
    assert all(line.endswith(": new") for line in said)
    accepted = digests.recorded()
    assert accepted == digests.current()

    text = digests.RECORDED.read_text()
    name = next(iter(accepted))
    digests.RECORDED.write_text(re.sub(accepted[name]["digest"], "0" * 16, text))
    assert digests.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert f"{name}: code changed, revision is still {accepted[name]['revision']}" in said
    digests.main()
    assert capsys.readouterr().out == "nothing changed\n"


def test_differences_name_what_is_raised_new_and_gone() -> None:
    old = {"a": {"revision": 1, "digest": "x"}, "b": {"revision": 1, "digest": "y"}}
    new = {"a": {"revision": 2, "digest": "z"}, "c": {"revision": 1, "digest": "y"}}
    assert list(digests.differences(old, new)) == ["a: revision 1 -> 2", "b: gone", "c: new"]
