"""The files of cluster/, parsed."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CLUSTER = ROOT / "cluster"
PROGRAMS = Path(sys.executable).parent


def load(name: str) -> dict[str, Any]:
    """A YAML file; CloudFormation's tags are left out."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, _, node: node.value)
    found: dict[str, Any] = yaml.load((CLUSTER / name).read_text(), Loader)
    return found


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value set (`a/b/0/c`), or removed where `value` is `...`."""
    new = copy.deepcopy(document)
    *parents, last = (int(each) if each.isdecimal() else each for each in path.split("/"))
    place: Any = new
    for each in parents:
        place = place[each]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return new


def pinned(package: str) -> str:
    """A package's version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return next(
        line.removeprefix(f"{package}==") for line in lines if line.startswith(package + "=")
    )


def files_with(secret: str, folder: Path) -> list[str]:
    """Files beneath `folder` with this text in them."""
    command = ["grep", "--recursive", "--files-with-matches", "--text", "--devices=skip"]
    command += ["--fixed-strings", "--", secret, str(folder)]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
