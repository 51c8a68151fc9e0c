"""Ray's private names: all in one file, and Ray's version is bounded for their sake."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import unlearn_ray

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(r"ray\.((.*\.)?_.*|core\..*|train\.v2\..*|tune\.execution.*)")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_private_names_of_ray_stand_in_one_file() -> None:
    package = Path(next(iter(unlearn_ray.__path__)))
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if any(PRIVATE.fullmatch(name) for name in imports(file))
    }
    assert found == {"scheduling/ray_private.py"}


def test_ray_is_bounded_to_the_minor_version_that_was_tested() -> None:
    major, minor, _ = version("ray").split(".")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = (e for e in project["optional-dependencies"]["run"] if e.startswith("ray["))
    assert ray.endswith(f"<{major}.{int(minor) + 1}")
