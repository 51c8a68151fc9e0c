"""Configs as flat lists of their innermost values, for people to compare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The innermost values of a config as JSON, by dotted name below `path`."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            name = item.get("name", number) if isinstance(item, Mapping) else number
            yield from flat(item, f"{path}[{name}]")
    else:
        yield path, json.dumps(value)


def differing(first: Any, second: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """The fields in which two configs differ, dotted, with both values as JSON.

    A value is None where its config lacks the field.
    """
    left, right = dict(flat(first, "")), dict(flat(second, ""))
    for name in [*left, *(name for name in right if name not in left)]:
        if left.get(name) != right.get(name):
            yield name, left.get(name), right.get(name)
