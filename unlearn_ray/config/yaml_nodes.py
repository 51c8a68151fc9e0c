"""YAML text as a tree of values.

Scalars follow YAML 1.2: `1e-3` is a number, `no` and `12:30` are text; `<<` merges mappings, as
in YAML 1.1. Only text, numbers, booleans, null, lists and mappings are constructed, within limits
on their number, depth and size.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

import yaml

from unlearn_ray.config.yaml_tree import Value
from unlearn_ray.core.errors import ConfigError

_MOST_VALUES = 20_000
_DEEPEST = 50
_LONGEST_TEXT = 4096
_LARGEST_INT = 2**63 - 1
_LONGEST_INT = 100


class _TooDeep(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """Composes nodes with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)
    depth = 0

    def scan_to_next_token(self) -> None:
        # YAML allows tabs except as indentation; PyYAML does not allow them at all.
        super().scan_to_next_token()
        while self.peek() == "\t" and not self._indents():
            self.forward()
            super().scan_to_next_token()

    def _indents(self) -> bool:
        """Whether the tab at the pointer indents a line of a block."""
        before = self.buffer[self.pointer - self.column : self.pointer]
        after = re.compile(r"[ \t]*([#\r\n\0]?)").match(self.buffer, self.pointer)
        return not (self.flow_level or before.strip() or (after and after[1]))

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > _DEEPEST:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _TooDeep(problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"
_NULL = "tag:yaml.org,2002:null"
_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_KNOWN_TAGS = {
    yaml.ScalarNode: {_BOOL, _FLOAT, _INT, _NULL, _STR, _MERGE},
    yaml.SequenceNode: {"tag:yaml.org,2002:seq"},
    yaml.MappingNode: {"tag:yaml.org,2002:map"},
}
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
    (_MERGE, r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})\Z"), _first)


def parse(text: str, origin: str, path: str, *, override: bool = False) -> Value:
    """`text` as a tree.

    Args:
        text: YAML.
        origin: its file, or its command-line option.
        path: the field that it is the value of; empty for a whole file.
        override: whether it comes from an option.

    Raises:
        ConfigError: not YAML, or beyond the limits.
    """

    def place(mark: yaml.Mark | None) -> str:
        if override or mark is None:
            return origin
        return f"{origin}:{mark.line + 1}"

    try:
        # Composing constructs nothing; the loader derives from the safe one all the same.
        loader = _Loader(text)
        node = loader.get_single_node()
    except _TooDeep as error:
        raise ConfigError(
            place(error.problem_mark),
            f"brackets or lines nested more than {_DEEPEST} deep",
            "write it flat: no field of a sweep is nested that deep",
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = place(mark) + (f":{mark.column + 1}" if mark and not override else "")
        tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        remedy = "indent with spaces, not tabs" if tab else "correct the YAML at that place"
        raise ConfigError(at, f"not YAML: {error.problem or error.context}", remedy) from None
    except yaml.reader.ReaderError as error:
        line = "" if override else f":{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(
            f"{origin}{line}",
            f"not YAML: it holds the character U+{ord(text[error.position]):04X}",
            "save it as plain text",
        ) from None
    if node is None:
        return Value(None, origin, path, override)
    return _Builder(place, override).build(node, path, ())


def text_fault(text: str) -> str | None:
    """What is wrong with text that is to be a name, a path or a sentence, as a predicate."""
    if len(text) > _LONGEST_TEXT:
        return f"has {len(text):,} characters, and the limit is {_LONGEST_TEXT:,}"
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs":
            return f"is not Unicode: it holds a lone surrogate, U+{ord(character):04X}"
        if kind == "Cc" and character not in "\t\n":
            return f"holds the control character U+{ord(character):04X}"
    return None


class _Place(Protocol):
    def __call__(self, mark: yaml.Mark | None) -> str: ...


@dataclass(frozen=True)
class _Builder:
    """Turns composed nodes into values."""

    place: _Place
    override: bool
    built: Iterator[int] = field(default_factory=lambda: count(1))

    def build(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> Value:
        value = Value(None, self.place(node.start_mark), path, self.override and not above)
        if next(self.built) > _MOST_VALUES:
            reason = f"more than {_MOST_VALUES:,} values, aliases expanded"
            raise value.error(reason, "write less, or fewer aliases", show=False)
        self._check_above(value, node, above)
        above = (*above, node)
        if node.tag not in _KNOWN_TAGS[type(node)]:
            shown = replace(value, content=node.value) if isinstance(node.value, str) else value
            raise shown.error(
                f"unknown tag {node.tag}", "write it without the tag", show=shown is not value
            )
        if isinstance(node, yaml.MappingNode):
            return replace(value, content=self._fields(node, path, above))
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item, f"{path}[{i}]", above) for i, item in enumerate(node.value)]
            return replace(value, content=items)
        content = self._scalar(node, value)
        return replace(
            value, content=content, text=None if isinstance(content, str) else node.value
        )

    def _check_above(self, value: Value, node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
        if any(node is other for other in above):
            raise value.error("an alias that contains itself", "write the value out", show=False)
        if len(above) > _DEEPEST:
            reason = f"aliases of aliases, nested more than {_DEEPEST} deep"
            raise value.error(reason, "write the values out", show=False)

    def _fields(
        self, node: yaml.MappingNode, path: str, above: tuple[yaml.Node, ...]
    ) -> dict[str, Value]:
        lines: dict[str, int] = {}
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in node.value:
            at = Value(None, self.place(key_node.start_mark), path)
            name = self._name(key_node, at)
            below = f"{path}.{name}".lstrip(".")
            if name in lines:
                raise replace(at, path=below).error(
                    f"given twice, first on line {lines[name]}", "keep one of them", show=False
                )
            lines[name] = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                at = replace(at, path=below)
                merged = self._merged(value_node, at, path, above)
                continue
            child = self.build(value_node, below, above)
            # A value on the line below its name is reported at the line of the name.
            own[name] = replace(child, where=self.place(key_node.start_mark))
        return merged | own

    def _name(self, node: yaml.Node, at: Value) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise at.error("a field without a name", "write `field: value`", show=False)
        name: str = node.value
        if node.tag not in _KNOWN_TAGS[yaml.ScalarNode]:
            raise at.error(f"unknown tag {node.tag}", "write it without the tag", show=False)
        if (fault := text_fault(name)) is not None:
            raise at.error(f"a field's name {fault}", "write `field: value`", show=False)
        return name

    def _merged(
        self, node: yaml.Node, at: Value, path: str, above: tuple[yaml.Node, ...]
    ) -> dict[str, Value]:
        """The fields that `<<` merges: of one mapping, or of several, where the first wins."""
        fields: dict[str, Value] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                reason = "only a mapping, or a list of mappings, can be merged"
                raise at.error(reason, "write `<<: *name`, and &name before a mapping", show=False)
            if any(source is other for other in above):
                raise at.error("a mapping merged into itself", "remove the merge", show=False)
            found = self.build(source, path, above).content
            fields |= {name: value for name, value in found.items() if name not in fields}
        return fields

    def _scalar(self, node: yaml.Node, value: Value) -> Any:
        text: str = node.value
        value = replace(value, content=text)
        try:
            if node.tag == _NULL:
                return None
            if node.tag == _BOOL:
                return text.lower() == "true"
            if node.tag == _INT:
                return self._whole(text, value)
            if node.tag == _FLOAT:
                return self._real(text, value)
        except ValueError:
            raise value.error(f"not a value of {node.tag}", "write it without the tag") from None
        if (fault := text_fault(text)) is not None:
            raise value.error(f"the text {fault}", "change it")
        return text

    def _whole(self, text: str, value: Value) -> int:
        base = 16 if text.startswith("0x") else 10
        # Python refuses to parse thousands of digits.
        number = int(text, base) if len(text) <= _LONGEST_INT else None
        if number is None or abs(number) > _LARGEST_INT:
            reason = f"does not fit in 64 bits: at most {_LARGEST_INT:,}"
            raise value.error(reason, "give a smaller number")
        return number

    def _real(self, text: str, value: Value) -> float:
        number = float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        if math.isinf(number) and "inf" not in text.lower():
            raise value.error("beyond the largest 64-bit float", "give a smaller number")
        return number
