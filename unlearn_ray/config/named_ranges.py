"""Ranges by name, and values from another file: the short forms of the field `methods`.

`recommended` and a grid's name stand for what a method declares beside its fields:

    methods: [scrub, salun]                       every method with its recommended ranges
    scrub: recommended                            the same, and `scrub: paper`
    scrub: {alpha: recommended, epochs: 3}        of one field
    scrub: {from: paper, epochs: 3}               all of a grid, but one field of one's own
    scrub: {from: sweeps/best/digits-...yaml}     what another file gives a study of the method
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearn_ray.config.fields import field_nodes, field_type, read_choice, schema_fields, validated
from unlearn_ray.config.yaml_file import read_tree
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import ConfigError, listed
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.registry import parts
from unlearn_ray.methods.base import Method

METHODS, FROM, RECOMMENDED = "methods", "from", "recommended"
_ENDINGS = (".yaml", ".yml")
# Files that take from files.
_DEEPEST = 5


def expanded(tree: Value) -> Value:
    """The file with the short forms of `methods` as mappings, so that `--set` finds its way."""
    if not isinstance(tree.content, dict) or METHODS not in tree.content:
        return tree
    methods = _as_mapping(tree.content[METHODS])
    if isinstance(methods.content, dict):
        entries = {name: _entry(node, name) for name, node in methods.content.items()}
        methods = replace(methods, content=entries)
    return replace(tree, content={**tree.content, METHODS: methods})


def _as_mapping(value: Value) -> Value:
    """`[scrub, salun]` as a mapping of studies with recommended ranges."""
    if not isinstance(value.content, list):
        return value
    problems = Problems()
    entries: dict[str, Value] = {}
    for item in value.content:
        with problems:
            if not isinstance(item.content, str):
                reason = "a list of methods has names only"
                raise item.error(reason, "write {method: {field: value}} lines instead")
            if item.content in entries:
                raise item.error("listed twice", "name every method once")
            path = f"{value.path}.{item.content}"
            entries[item.content] = replace(item, content=RECOMMENDED, path=path)
    problems.check()
    return replace(value, content=entries)


def _entry(value: Value, name: str) -> Value:
    known = parts(Method)
    if name in known and isinstance(value.content, str):
        return _from(value)
    if name not in known and isinstance(value.content, dict):
        inner = {
            key: _from(node) if key in known and isinstance(node.content, str) else node
            for key, node in value.content.items()
        }
        return replace(value, content=inner)
    return value


def _from(value: Value) -> Value:
    return replace(value, content={FROM: value})


def written_out(value: Value, method: type[Method], name: str, depth: int = 0) -> dict[str, Value]:
    """The fields of a study, with ranges and values in place of names and of `from`.

    Args:
        value: the study's fields.
        method: its method.
        name: the study's name, by which a file's study is found.
        depth: how many files led here.

    Raises:
        ConfigError: a name or a file does not stand for anything.
    """
    nodes = dict(field_nodes(value))
    source = nodes.pop(FROM, None)
    problems = Problems()
    own: dict[str, Value] = {}
    for field, node in nodes.items():
        with problems:
            own[field] = _of_a_field(node, method, field)
    taken: dict[str, Value] = {}
    if source is not None:
        with problems:
            taken = _taken(source, value.path, method, name, depth)
    problems.check()
    return {**taken, **own}


def _taken(
    source: Value, path: str, method: type[Method], name: str, depth: int
) -> dict[str, Value]:
    """The fields that `from` stands for, in the study at `path`."""
    given = source.content
    if isinstance(given, str) and given.endswith(_ENDINGS):
        return _of_a_file(source, method, name, depth)
    declared = _declared(method, given) if isinstance(given, str) else None
    if declared is None:
        raise source.error(f"{method.name} has no ranges of this name", _known(method))
    if not declared and schema_fields(method):
        raise source.error(f"{method.name} has no recommended ranges", "write ranges of its fields")
    return {field: _as_value(one, source, f"{path}.{field}") for field, one in declared.items()}


def _of_a_field(node: Value, method: type[Method], field: str) -> Value:
    """The range or value that a field's name of a range stands for; other values as they are."""
    fields = schema_fields(method)
    declared = _declared(method, node.content) if isinstance(node.content, str) else None
    if declared is None or field not in fields:
        return node
    with suppress(ConfigError):
        validated(node, field_type(fields[field]))
        return node  # the field has a value of this name
    if field not in declared:
        has = f"it has those of {listed(declared, 20)}" if declared else "it has none"
        reason = f"{method.name} has no {node.content} range of {field}; {has}"
        raise node.error(reason, "write a range, as in {uniform: [0, 1]}", show=False)
    return _as_value(declared[field], node, node.path)


def _declared(method: type[Method], name: str) -> Mapping[str, Any] | None:
    return method.recommended if name == RECOMMENDED else method.grids.get(name)


def named_ranges(method: type[Method]) -> dict[str, Mapping[str, Any]]:
    """What a method declares, by the names that a sweep file uses; values as it writes them."""
    names = (*([RECOMMENDED] if method.recommended else []), *method.grids)
    return {name: _plain(_declared(method, name) or {}) for name in names}


def _plain(ranges: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: one.as_mapping() if isinstance(one, Range) else one for field, one in ranges.items()
    }


def _known(method: type[Method]) -> str:
    names = ", ".join((RECOMMENDED, *method.grids))
    return f"write {{field: value}}, {names}, or a sweep file, as in from: best.yaml"


def _as_value(plain: Any, at: Value, path: str) -> Value:
    """A declared range or value, as if it stood in the file."""
    if isinstance(plain, Range):
        plain = plain.as_mapping()
    if isinstance(plain, Mapping):
        plain = {name: _as_value(one, at, f"{path}.{name}") for name, one in plain.items()}
    elif isinstance(plain, list | tuple):
        plain = [_as_value(one, at, path) for one in plain]
    return Value(plain, at.where, path, at.override)


def _of_a_file(source: Value, method: type[Method], name: str, depth: int) -> dict[str, Value]:
    """The fields of a study of another sweep file: the one of this name, or of this method."""
    if depth == _DEEPEST:
        raise source.error("files that take from files", "name the file that holds the values")
    try:
        tree = expanded(read_tree(Path(source.content).expanduser()))
    except (ConfigError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise source.error(f"{error.subject}: {error.reason}", error.remedy) from None
        raise source.error("there is no such user", "write the whole path") from None
    methods = field_nodes(tree).get(METHODS, tree)
    studies = dict(_studies_of(methods, method)) if methods is not tree else {}
    if name in studies:
        found = studies[name]
    elif len(studies) == 1:
        (found,) = studies.values()
    else:
        which = f"several: {listed(studies)}" if studies else "none"
        remedy = "give the study the name of one of them" if studies else "name another file"
        raise source.error(f"of the studies of {method.name} in it there are {which}", remedy)
    return written_out(found, method, name, depth + 1)


def _studies_of(methods: Value, method: type[Method]) -> Iterator[tuple[str, Value]]:
    """The studies of a method, by name."""
    for name, node in field_nodes(methods).items():
        if name == method.name:
            yield name, node
        elif name not in parts(Method):
            cls, inner = read_choice(node, Method)
            if cls is method:
                yield name, inner
