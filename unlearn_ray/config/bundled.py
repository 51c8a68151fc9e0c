"""The sweeps that come with the package, by name."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from textwrap import shorten

from unlearn_ray.core.errors import did_you_mean

# Of what a sweep is for, in characters.
_WIDTH = 120
_FOLDER = Path(__file__).resolve().parents[1] / "sweeps"


def bundled() -> dict[str, Path]:
    """Their files by name, sorted."""
    files = sorted(_FOLDER.rglob("*.yaml"))
    return {path.relative_to(_FOLDER).with_suffix("").as_posix(): path for path in files}


def sweep_path(given: Path) -> Path:
    """`given`, or else the bundled sweep of this name, where there is no such file."""
    if given.suffix or os.path.exists(given):  # which never raises
        return given
    return bundled().get(str(given), given)


def nearest(given: Path) -> str:
    """A remedy for a sweep that there is not: a file beside it, or a bundled one, of like name."""
    near: list[str] = []
    with suppress(OSError):
        near = [str(other) for other in given.parent.glob("*.y*ml")]
    return did_you_mean(str(given), [*near, *(() if given.suffix else bundled())])


def purpose(path: Path) -> str:
    """What a sweep file is for: the comment at its top, shortened."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
    words = " ".join(line.removeprefix("#").strip() for line in lines)
    return shorten(words, _WIDTH, placeholder=" ...")
