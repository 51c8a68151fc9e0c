"""A sweep file as a tree of values that know their line, and errors about them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_ray.core.errors import ConfigError, shortened, without_secrets

# Most characters of a value, and of a field's path, in a message.
_SHOWN, _LONGEST_PATH = 60, 100
# Most errors of a file that are printed.
_TOLD = 20


@dataclass(frozen=True)
class Value:
    """One value of a file or of a `--set`.

    Attributes:
        content: a scalar, a list of `Value`, or a dict of `Value` by name.
        where: `file:line`, or the override that set it.
        path: its dotted field; empty at the top.
        override: whether `where` is an option that itself names the field and its value.
        text: a scalar as written, where it was read as something other than text.
    """

    content: Any
    where: str
    path: str
    override: bool = False
    text: str | None = None

    @property
    def plain(self) -> Any:
        """The content without line information."""
        if isinstance(self.content, dict):
            return {name: child.plain for name, child in self.content.items()}
        if isinstance(self.content, list):
            return [child.plain for child in self.content]
        return self.content

    def error(self, reason: str, remedy: str, *, show: bool = True) -> ConfigError:
        """An error about this value; `show` includes the value."""
        if self.override:
            return ConfigError(self.where, reason, remedy)
        path = shortened(without_secrets(self.path), _LONGEST_PATH)
        subject = f"{self.where}: {path}" if path else self.where
        if show:
            subject += f" = {shortened(without_secrets(in_yaml(self.plain)), _SHOWN)}"
        return ConfigError(subject, reason, remedy)


class ConfigErrors(ConfigError):
    """Several errors of one file; its text has a line for each of the first few."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.subject, first.reason, first.remedy)
        self.args = (tuple(errors),)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors[:_TOLD]]
        more = len(self.errors) - len(lines)
        return "\n".join([*lines, f"and {more:,} more; fix these first"] if more else lines)


class Problems:
    """Collects the errors of a file, so that they are reported together.

    >>> problems = Problems()
    >>> with problems:
    ...     raise ConfigError("x.yaml:1: a", "unknown field", "remove it")
    >>> len(problems.found)
    1
    """

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ConfigErrors):
            self.found += error.errors
        elif isinstance(error, ConfigError):
            self.found.append(error)
        return isinstance(error, ConfigError)

    def check(self) -> None:
        """Raise the collected errors, if any."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigErrors(self.found)


def in_yaml(value: Any) -> str:
    """A value in YAML, on one line.

    >>> in_yaml({"epsilon": None, "classes": (3, True)})
    '{epsilon: null, classes: [3, true]}'
    """
    if isinstance(value, str):
        return value if _is_bare(value) else json.dumps(value, ensure_ascii=not value.isprintable())
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {in_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    return str(value)


def _is_bare(text: str) -> bool:
    """Whether YAML reads `text` as itself without quotes."""
    if text != text.strip() or not text.isprintable() or re.search(r"[][{},]|: |:$| #", text):
        return False
    if text.lower() in ("", "~", "null", "true", "false", "<<") or text[0] in "#&*!|>'\"%@`":
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
