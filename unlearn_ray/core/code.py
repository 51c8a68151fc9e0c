"""Digests of a part's source code, so that results of edited code are not taken for the old code's.

A digest covers the code that Python would run: comments, docstrings and layout do not count, and
every version of Python computes the same digest.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.modules import PACKAGE, Place, locate, parsed, reached
from unlearn_ray.core.shipping import sent_code

DIGITS = 16
# Notes of the parser that change nothing that is run.
_NOTES = {"ctx", "kind", "type_comment", "type_ignores"}


def digest(sources: Mapping[str, str]) -> str:
    """16 hex digits of the code of these modules.

    Args:
        sources: source of each module by its name.
    """
    each = [[name, _own_digest(text)] for name, text in sorted(sources.items())]
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()[:DIGITS]


def part_digest(part: type, contract: type) -> str:
    """The digest of a class's module, its sibling imports and the modules of its base classes;
    empty for a class of this package.

    Siblings of a module in a package are the rest of the package; those of a stand-alone module
    are the modules and packages in its folder, except installed ones. In a notebook only the
    cell that defines the class counts. Code that another process sent has its digest with it.

    Args:
        part: the class, while the code that defines it runs.
        contract: base classes that derive from it count even if they are installed.

    Raises:
        ConfigError: its source cannot be read.
    """
    if (sent := sent_code(part)) is not None:
        return sent
    place, text = _origin(part)
    if place.ours:
        return ""
    if text is None:
        raise ConfigError(
            f"class {part.__qualname__}",
            "its source cannot be read, so an edit of it would go unseen",
            "move it to a file, and import it from there",
        )
    sources = {f"import {name}": found for name, found in _with_imports(place, text).items()}
    # The same file may be run and be imported.
    sources["own"] = sources.pop(f"import {place.name}")
    for base in part.__mro__[1:]:
        place, text = _origin(base)
        counts = place.a_persons_own or (issubclass(base, contract) and not place.ours)
        if counts and text is not None and base.__module__ != part.__module__:
            for name, found in _with_imports(place, text).items():
                sources[f"base {name}"] = found
    return digest(sources)


def _with_imports(place: Place, text: str) -> dict[str, str]:
    return reached(place, text, _beside(place))


def _beside(place: Place) -> Callable[[Place], bool]:
    if place.package and place.top != PACKAGE:
        return lambda other: other.top == place.top and not other.ours
    # The modules that a notebook finds lie where it runs.
    alone = place.file is None or not place.file.exists()
    folder = (Path.cwd() if alone or place.file is None else place.file.parent).resolve()

    def beside(other: Place) -> bool:
        if not other.a_persons_own or other.file is None:
            return False
        return other.file.resolve().is_relative_to(folder)

    return beside


def _origin(cls: type) -> tuple[Place, str | None]:
    module = sys.modules.get(cls.__module__)
    if module is None:
        return Place(cls.__module__, None), None
    spec = getattr(module, "__spec__", None)
    name = module.__name__ if spec is None else spec.name
    file = getattr(module, "__file__", None)
    # What is typed into a session stands in a cell, also where the session began with a file.
    if module.__name__ == "__main__" or file is None:
        file = _running(module) or file
    if file is None:
        return Place(name, None), None
    place = replace(locate(module.__name__) or Place(name, None), name=name, file=Path(file))
    text = place.source()
    if text is None:
        linecache.checkcache(file)
        text = "".join(linecache.getlines(file, vars(module))) or None
    return place, text


def _running(module: ModuleType) -> str | None:
    """The file or cell of a module whose code runs now."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals is not vars(module):
        frame = frame.f_back
    return None if frame is None else frame.f_code.co_filename


@lru_cache(maxsize=1024)
def _own_digest(text: str) -> str:
    tree = parsed(text)
    tokens = [text] if tree is None else _tokens(tree)
    return hashlib.sha256("\n".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()


def _tokens(tree: ast.AST) -> Iterator[str]:
    """The tree, parent before child, as tokens that are the same in every version of Python."""
    # A stack, since a long sum is a deep tree.
    waiting: list[ast.AST | str] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        else:
            yield f"({type(item).__name__}"
            waiting += reversed([*_content(item), ")"])


def _content(node: ast.AST) -> Iterator[ast.AST | str]:
    for name in sorted(set(node._fields) - _NOTES):
        value: Any = getattr(node, name, None)
        if isinstance(node, ast.JoinedStr):
            value = _joined(value)
        elif isinstance(value, list):
            value = [item for item in value if not _is_text(item)]
        elif isinstance(value, ast.JoinedStr) and not _joined(value.values):
            continue
        # Fields that a later Python adds are empty where its new syntax is not used.
        if value is None or value == []:
            continue
        yield name
        if isinstance(value, list):
            yield "["
            yield from (_item(item) for item in value)
            yield "]"
        else:
            yield _item(value)


def _is_text(node: Any) -> bool:
    """Whether it is a docstring, or a bare string that serves as a comment."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _joined(values: list[Any]) -> list[Any]:
    """The pieces of an f-string: before Python 3.12 their text may be cut in other places."""
    pieces: list[Any] = []
    for is_text, run in groupby(values, lambda piece: isinstance(piece, ast.Constant)):
        if not is_text:
            pieces += run
        elif text := "".join(piece.value for piece in run):
            pieces.append(ast.Constant(text))
    return pieces


def _item(value: Any) -> ast.AST | str:
    if isinstance(value, ast.AST):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write very long numbers in decimal.
        return f"int {value:x}"
    if isinstance(value, float):
        return f"float {value.hex()}"
    if isinstance(value, complex):
        return f"complex {value.real.hex()} {value.imag.hex()}"
    return f"{type(value).__name__} {value!a}"
