"""A sweep as a dict, in the form that a sweep file is read into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.config.yaml_tree import Value
from unlearn_ray.core.errors import ConfigError, shown

# Where errors say that a value is.
_WHERE = "sweep"


def tree_of(content: Mapping[str, Any]) -> Value:
    """The dict as a tree; errors about its values name their path in it.

    Raises:
        ConfigError: something in it could not be in a sweep file.
    """
    # JSON is YAML: what is refused in a file is refused here.
    text = json.dumps(_plain(content, ""), ensure_ascii=False)
    return _placed(parse(text, _WHERE, ""))


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise _refused(name, path, "the name of a field is text")
        return {name: _plain(one, f"{path}.{name}".lstrip(".")) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, f"{path}[{number}]") for number, one in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _refused(value, path, f"a sweep has no values of type {type(value).__name__}")


def _refused(value: object, path: str, reason: str) -> ConfigError:
    subject = f"{_WHERE}: {path} = {shown(repr(value))}" if path else f"{_WHERE}: {value!r}"
    return ConfigError(subject, reason, "give text, numbers, true or false, lists and dicts")


def _placed(value: Value) -> Value:
    """The tree without the lines of a text that nobody has seen."""
    content = value.content
    if isinstance(content, dict):
        content = {name: _placed(child) for name, child in content.items()}
    elif isinstance(content, list):
        content = [_placed(child) for child in content]
    return replace(value, content=content, where=_WHERE)
