"""Locate modules and the modules that they import, without importing anything."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import decode_source
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
_LIBRARIES = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Place:
    """The location of a module.

    Attributes:
        name: as it is imported.
        file: None for a namespace package or a built-in module.
        folders: those that hold a package's modules; empty for a plain module.
    """

    name: str
    file: Path | None
    folders: tuple[str, ...] = ()

    @property
    def top(self) -> str:
        """The name of its top-level package, or of the module itself."""
        return self.name.partition(".")[0]

    @property
    def package(self) -> str:
        """The package that relative imports in this module start from."""
        return self.name if self.folders else self.name.rpartition(".")[0]

    @property
    def ours(self) -> bool:
        """Whether it lies in this package's folder, under any name."""
        return self.file is not None and self.file.resolve().is_relative_to(PACKAGE_FOLDER)

    @property
    def a_persons_own(self) -> bool:
        """Whether it is not part of this package, the standard library or an installed package."""
        if self.file is None or self.ours:
            return False
        # Python's libraries hold site-packages, too, and a home folder may hold them all.
        file = self.file.resolve()
        return not (
            _INSTALLED & {*file.parts, *self.file.parts}
            or any(file.is_relative_to(folder) for folder in _LIBRARIES)
        )

    def source(self) -> str | None:
        """The source; None if there is no Python source file."""
        if self.file is None or self.file.suffix != ".py":
            return None
        try:
            return decode_source(self.file.read_bytes())
        except (OSError, SyntaxError, UnicodeDecodeError):
            return None


def locate(name: str) -> Place | None:
    """Locate the module `name`, whether imported or not; None if there is none."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return Place(name, Path(file) if isinstance(file, str) else None, _folders(module))
    within: list[str] | None = None
    if parent := name.rpartition(".")[0]:
        above = locate(parent)
        if above is None or not above.folders:
            return None
        within = list(above.folders)
    # importlib.util.find_spec would run the packages above.
    spec = PathFinder.find_spec(name, within)
    if spec is None:
        return None
    place = Path(spec.origin) if spec.has_location and spec.origin else None
    return Place(name, place, tuple(spec.submodule_search_locations or ()))


def _folders(module: object) -> tuple[str, ...]:
    # Some objects in sys.modules pretend to have every attribute.
    folders = getattr(module, "__path__", None)
    if not isinstance(folders, Iterable):
        return ()
    try:
        return tuple(folders)
    except KeyError:
        return ()  # of a package without a file, in one whose import failed


def reached(start: Place, text: str, counts: Callable[[Place], bool]) -> dict[str, str]:
    """The sources of a module and of everything that it imports, transitively, by name.

    Imports within functions count, too. The package of an imported module counts if a name of
    its own is imported. A module that is missing (an optional import) or has no source is left
    out.

    Args:
        start: location of the module.
        text: its source.
        counts: whether to follow a module; called before its source is read.
    """
    found, files = {start.name: text}, {start.file}
    waiting = [(start, text)]
    while waiting:
        place, text = waiting.pop()
        for name in imported(place, text):
            other = locate(name)
            if other is None or name in found or other.file in files or not counts(other):
                continue
            source = other.source()
            if source is not None:
                found[name] = source
                files.add(other.file)
                waiting.append((other, source))
    return found


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a source; None if this version of Python cannot parse it."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def imported(place: Place, text: str) -> Iterator[str]:
    """Names of imported modules; some may be names of objects in a module."""
    tree = parsed(text)
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                if alias.asname is None:
                    # `import a.b` gives the name a to the module, with all that it holds.
                    words = alias.name.split(".")
                    yield from (".".join(words[:count]) for count in range(1, len(words)))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(place, node)
            for alias in node.names if base else ():
                inner = f"{base}.{alias.name}"
                yield base if alias.name == "*" or locate(inner) is None else inner


def _absolute(place: Place, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    above = place.package.split(".")
    above = above[: len(above) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above) if above[:1] != [""] else ""
