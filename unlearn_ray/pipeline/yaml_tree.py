"""A YAML file as a tree of values that know where they stand.

Scalars follow YAML 1.2: `1e-3` is a number, `no` and `12:30` are text. Nothing is constructed
but text, numbers, booleans, null, lists and mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import yaml

from unlearn_ray.core.errors import ConfigError, did_you_mean

_SHOWN = 60
_ERRORS_SHOWN = 20


@dataclass(frozen=True)
class Value:
    """One value of a file or of a `--set`.

    Attributes:
        content: a scalar, a list of `Value`, or a dict of `Value` by name.
        where: `file:line`, or the override that set it.
        path: its dotted field; empty at the top.
        override: whether `where` is an option that itself names the field and its value.
        text: a scalar as it stands there, where it was read as something else than text.
    """

    content: Any
    where: str
    path: str
    override: bool = False
    text: str | None = None

    @property
    def plain(self) -> Any:
        """The content without its places."""
        if isinstance(self.content, dict):
            return {name: child.plain for name, child in self.content.items()}
        if isinstance(self.content, list):
            return [child.plain for child in self.content]
        return self.content

    def error(self, reason: str, remedy: str, *, show: bool = True) -> ConfigError:
        """An error about this value; `show` writes the value out."""
        if self.override:
            return ConfigError(self.where, reason, remedy)
        subject = f"{self.where}: {self.path}" if self.path else self.where
        return ConfigError(f"{subject} = {_shown(self.plain)}" if show else subject, reason, remedy)


class ConfigErrors(ConfigError):
    """Several errors of one file; its text has one line for each."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.subject, first.reason, first.remedy)
        self.args = (tuple(errors),)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        lines = [*map(str, self.errors[:_ERRORS_SHOWN])]
        more = len(self.errors) - len(lines)
        return "\n".join([*lines, f"and {more:,} more errors"] if more else lines)


class Problems:
    """Collects errors, so that a file's are reported together.

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
        """Raise what was found, if anything was."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigErrors(self.found)


def read_tree(path: Path) -> Value:
    """The file's top mapping.

    Raises:
        ConfigError: the file is missing, unreadable, empty, not YAML or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [str(other) for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(str(path), "no such file", did_you_mean(str(path), near)) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}", "not UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(str(path), reason, "name a sweep file that can be read") from None
    tree = _parse(text, str(path), "")
    if tree.content is None:
        raise ConfigError(
            str(path), "empty", "give at least dataset, forget_set, model, family, methods"
        )
    if not isinstance(tree.content, dict):
        raise tree.error("a sweep file is a mapping of fields", "write `field: value` lines")
    return tree


def override(tree: Value, assignment: str) -> Value:
    """The tree with one `key=value` applied: a dotted path and a YAML value.

    Raises:
        ConfigError: not of that form, or the path leads through something without fields.
    """
    option = f"--set {assignment}"
    key, equals, text = assignment.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(
            option, "not of the form key=value", "write --set methods.finetune.epochs=5"
        )
    return _put(tree, names, _parse(text, option, ".".join(names), override=True))


def _put(parent: Value, names: list[str], new: Value) -> Value:
    content = parent.content
    if content is None:
        content = {}
    if isinstance(content, str) and len(names) > 1:
        # `dataset: digits` is short for `dataset: {digits: {}}`.
        content = {content: replace(parent, content=None, path=f"{parent.path}.{content}")}
    if not isinstance(content, dict):
        raise new.error(f"{parent.path} has no fields", f"write --set {parent.path}=VALUE")
    # A study's name may hold dots.
    ends = [end for end in range(1, len(names) + 1) if ".".join(names[:end]) in content]
    if len(ends) > 1:
        each = " or ".join(f"{parent.path}.{'.'.join(names[:end])}".lstrip(".") for end in ends)
        raise new.error(f"may mean {each}", "rename one of them, or change it in the file")
    end = max(ends, default=1)
    name, rest = ".".join(names[:end]), names[end:]
    if rest:
        path = f"{parent.path}.{name}".lstrip(".")
        child = content.get(name, Value({}, new.where, path, override=True))
        new = _put(child, rest, new)
    return replace(parent, content={**content, name: new})


class _Loader(yaml.SafeLoader):
    """Composes nodes with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)


_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"
_NULL = "tag:yaml.org,2002:null"
_STR = "tag:yaml.org,2002:str"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
for _tag, _pattern, _first in (
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, rf"[-+]?{_DIGITS}|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        _FLOAT,
        rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def _parse(text: str, origin: str, path: str, *, override: bool = False) -> Value:
    """`text` as a tree; `origin` is its file, or the option that it stands in."""

    def place(mark: yaml.Mark | None) -> str:
        if override or mark is None:
            return origin
        return f"{origin}:{mark.line + 1}"

    try:
        # Composing constructs nothing; the loader derives from the safe one all the same.
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = place(mark) + (f":{mark.column + 1}" if mark and not override else "")
        tab = mark is not None and _character(text, mark) == "\t"
        remedy = "indent with spaces, not tabs" if tab else "correct the YAML at that place"
        raise ConfigError(at, f"not YAML: {error.problem or error.context}", remedy) from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(origin, f"not YAML: {reason}", "save it as plain text") from None
    if node is None:
        return Value(None, origin, path, override)
    return _Builder(place, override).build(node, path, ())


def _character(text: str, mark: yaml.Mark) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    return line[mark.column] if mark.column < len(line) else ""


class _Place(Protocol):
    def __call__(self, mark: yaml.Mark | None) -> str: ...


@dataclass(frozen=True)
class _Builder:
    """Turns composed nodes into values."""

    place: _Place
    override: bool

    def build(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> Value:
        value = Value(None, self.place(node.start_mark), path, self.override and not above)
        if any(node is other for other in above):
            raise value.error("an alias that holds itself", "write the value out", show=False)
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return replace(value, content=dict(self._fields(node, path, above)))
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item, f"{path}[{i}]", above) for i, item in enumerate(node.value)]
            return replace(value, content=items)
        content = self._scalar(node, value)
        text = None if isinstance(content, str) else node.value
        return replace(value, content=content, text=text)

    def _fields(
        self, node: yaml.MappingNode, path: str, above: tuple[yaml.Node, ...]
    ) -> Iterator[tuple[str, Value]]:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            at = Value(None, self.place(key_node.start_mark), path)
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                raise at.error("a field without a name", "write `field: value`", show=False)
            name = key_node.value
            below = f"{path}.{name}".lstrip(".")
            if name in lines:
                raise replace(at, path=below).error(
                    f"given twice, first on line {lines[name]}", "keep one of them", show=False
                )
            lines[name] = key_node.start_mark.line + 1
            child = self.build(value_node, below, above)
            # A value on the line below its name is looked for where the name stands.
            yield name, replace(child, where=self.place(key_node.start_mark))

    def _scalar(self, node: yaml.Node, value: Value) -> Any:
        text: str = node.value
        try:
            if node.tag == _NULL:
                return None
            if node.tag == _BOOL:
                return text.lower() == "true"
            if node.tag == _INT:
                return int(text, 16) if text.startswith("0x") else int(text)
            if node.tag == _FLOAT:
                return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        except ValueError:
            raise replace(value, content=text).error(
                f"not a value of {node.tag}", "write it without the tag"
            ) from None
        if node.tag != _STR:
            raise replace(value, content=text).error(
                f"unknown tag {node.tag}", "write it without the tag"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise replace(value, content=text).error(
                "holds a lone surrogate, which no text has", "write it anew"
            )
        return text


def _shown(value: Any) -> str:
    """A value as one would write it in YAML, shortened."""
    if isinstance(value, str):
        plain = value.isprintable() and value == value.strip() != ""
        text = value if plain else repr(value)
    elif value is None:
        text = "null"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(_shown(item) for item in value) + "]"
    else:
        text = f"{value}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
