"""Plain values as YAML that a sweep file's reader reads back as they are, made to be read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import yaml

_WIDTH = 100
# Text that needs no quotes, except for these words.
_BARE = re.compile(r"(\.{0,2}/)?[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset(("null", "true", "false"))

Comments = Mapping[tuple[str, ...], Sequence[str]]
_NONE: Comments = MappingProxyType({})


def yaml_text(
    values: Mapping[str, Any],
    head: Sequence[str] = (),
    above: Comments = _NONE,
    below: Comments = _NONE,
) -> str:
    """A mapping as YAML: short values on one line, long ones in blocks.

    Args:
        values: text, numbers, booleans, null, lists and mappings.
        head: lines of comment at the top.
        above, below: lines of comment before and after the value at a path.
    """
    lines = [*_comment(head, ""), *_fields(values, "", (), above, below)]
    return "\n".join(lines) + "\n"


def _fields(
    values: Mapping[str, Any], indent: str, path: tuple[str, ...], above: Comments, below: Comments
) -> Iterator[str]:
    for name, value in values.items():
        at = (*path, name)
        yield from _comment(above.get(at, ()), indent)
        inside = any(other[: len(at)] == at for other in (*above, *below) if other != at)
        line = f"{indent}{_text(name)}: {in_flow(value)}"
        deeper = f"{indent}  "
        if isinstance(value, Mapping) and value and (inside or below.get(at)):
            yield f"{indent}{_text(name)}:"
            yield from _fields(value, deeper, at, above, below)
        elif len(line) <= _WIDTH or not isinstance(value, Mapping | list | tuple) or not value:
            yield line
        elif isinstance(value, Mapping):
            yield f"{indent}{_text(name)}:"
            yield from _fields(value, deeper, at, above, below)
        else:
            yield f"{indent}{_text(name)}:"
            yield from (f"{deeper}- {in_flow(item)}" for item in value)
        yield from _comment(below.get(at, ()), deeper)


def _comment(lines: Sequence[str], indent: str) -> Iterator[str]:
    for line in lines:
        # Nothing in a line may end the comment.
        printable = "".join(letter if letter.isprintable() else "?" for letter in line)
        start = f"{indent}# "
        yield from textwrap.wrap(
            printable,
            _WIDTH,
            initial_indent=start,
            subsequent_indent=f"{start}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def in_flow(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(k)}: {in_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_flow, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # Unprintable characters are escaped; others stay as they are.
    written: str = yaml.safe_dump(
        text, default_style='"', width=float("inf"), allow_unicode=text.isprintable()
    )
    return written.rstrip("\n")
