"""A JSON Schema of sweep files, for editors: from the schemas of a sweep and of every part.

It knows names, types, bounds and ranges. What fields must be together, and what a dataset holds,
only planning checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter

from unlearn_ray.config.describe import CONTRACTS
from unlearn_ray.config.fields import default_of, field_type, schema_fields
from unlearn_ray.config.named_ranges import FROM, named_ranges
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.columns import MOST_CONSTRAINTS, MOST_OBJECTIVES
from unlearn_ray.core.ranges import OTHERWISE, RANGE_KINDS, STEP, WHEN
from unlearn_ray.core.registry import Part, parts, summary
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Objective
from unlearn_ray.reporting.part_words import attributes
from unlearn_ray.scores.base import Score
from unlearn_ray.steps.setting import Setting

Node = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# Fields of a sweep's schema that a file writes in another way, or not at all.
_WRITTEN_OTHERWISE = ("setting", "studies", "metrics", "scores", "log")


def json_schema() -> Node:
    """The schema, as JSON values."""
    top = _fields(Sweep, leave_out=_WRITTEN_OTHERWISE) | _fields(Setting)
    top["methods"] = {
        "description": "Studies: {method: {field: value}}, or {your_name: {method: {field: ...}}}; "
        "or a list of methods, each with its recommended ranges.",
        "anyOf": [
            {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"enum": [*parts(Method)]},
            },
            {
                "type": "object",
                "minProperties": 1,
                "properties": {name: _ref(Method, name) for name in parts(Method)},
                "additionalProperties": _choice(Method),
            },
        ],
    }
    several = {"type": "array", "items": _choice(Objective), "minItems": 1}
    top["objective"] = {
        **top["objective"],
        "anyOf": [*top["objective"]["anyOf"], {**several, "maxItems": MOST_OBJECTIVES}],
    }
    top["constraints"] = {
        "description": "What a trial must keep to be chosen, on average over the tuning seeds.",
        "type": "array",
        "items": {"type": "string", "pattern": "(<=|>=)"},
        "maxItems": MOST_CONSTRAINTS,
    }
    listed: dict[str, type[Part]] = {"metrics": Metric, "scores": Score, "log": Logger}
    meanings = attributes(Sweep)
    for name, contract in listed.items():
        several = {"type": "array", "items": _choice(contract)}
        options = [several] if contract is Metric else [several, _choice(contract), _NULL]
        top[name] = {"description": meanings.get(name, ""), "anyOf": options}
    top["name"] = {**top["name"], "description": "Of the sweep; the file's name if left out."}
    required = [name for name, field in schema_fields(Setting).items() if field.is_required()]
    return {
        "$schema": _DRAFT,
        "title": "unlearn_ray sweep",
        **_mapping(top, [*required, "methods"]),
        "$defs": {
            f"{contract.kind}.{name}": _part(part)
            for contract in CONTRACTS
            for name, part in parts(contract).items()
        },
    }


_NULL: Node = {"type": "null"}


def _mapping(properties: Mapping[str, Node], required: Iterable[str] = ()) -> Node:
    node: Node = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = list(required)
    return {**node, "required": needed} if needed else node


def _or_nothing(node: Node) -> Node:
    """A mapping, or null where none of its fields is given."""
    return node if "required" in node else {**node, "type": ["object", "null"]}


def _part(part: type[Part]) -> Node:
    """The fields of a part; those of a method may be ranges, also by name or from a file."""
    required = [name for name, field in schema_fields(part).items() if field.is_required()]
    if not issubclass(part, Method):
        return {"description": summary(part), **_or_nothing(_mapping(_fields(part), required))}
    names: Node = {"enum": [*named_ranges(part)]}
    source: Node = {"anyOf": [names, {"type": "string", "pattern": r"\.ya?ml$"}]}
    fields = {
        name: {**node, "anyOf": [*node["anyOf"], names]}
        for name, node in _fields(part, searched=True).items()
    }
    mapping = _mapping({**fields, FROM: source})
    mapping |= {"anyOf": [{"required": required}, {"required": [FROM]}]} if required else {}
    whole = mapping if required else _or_nothing(mapping)
    return {"description": summary(part), "anyOf": [whole, source]}


def _fields(
    cls: type, *, leave_out: Iterable[str] = (), searched: bool = False, default: object = None
) -> dict[str, Node]:
    meanings = attributes(cls)
    found = {}
    for name, field in schema_fields(cls).items():
        if name in leave_out:
            continue
        hint = field_type(field)
        usual: object = None
        if default is not None:
            usual = getattr(default, name)
        elif not field.is_required():
            usual = default_of(field)
        node = _typed(hint, usual)
        if searched:
            node = {"anyOf": [node]} if is_dataclass(hint) else _searched(node)
        told: Node = {"description": meanings[name]} if name in meanings else {}
        if isinstance(usual, str | int | float | bool):
            told["default"] = usual
        found[name] = {**told, **node}
    return found


def _searched(value: Node) -> Node:
    """A value, or a range of such values."""
    ends = {"type": "array", "items": value, "minItems": 2, "maxItems": 2}
    choices = {"type": "array", "items": value, "minItems": 2, "uniqueItems": True}
    extras: Node = {STEP: {"type": "number"}, WHEN: {"type": "object"}, OTHERWISE: value}
    ranges = [
        _mapping({kind: choices if kind in ("choice", "grid") else ends, **extras}, [kind])
        for kind in RANGE_KINDS
    ]
    return {"anyOf": [value, *ranges]}


def _typed(hint: Any, usual: object = None) -> Node:
    """The values of a type."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *bounds = get_args(hint)
        if _is_plain(inner):
            return dict(TypeAdapter(hint).json_schema())
        return _typed(inner, usual) | _length(bounds)
    if origin in (Union, UnionType):
        return {"anyOf": [_typed(option, usual) for option in get_args(hint)]}
    if origin in (tuple, list):
        items = get_args(hint)
        if origin is list or items[-1] is Ellipsis:
            return {"type": "array", "items": _typed(items[0])}
        each = [_typed(item) for item in items]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    if isinstance(hint, type) and issubclass(hint, Part):
        return _choice(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        given = usual if isinstance(usual, hint) else None
        required = [
            name for name, field in schema_fields(hint).items() if field.is_required() and not given
        ]
        return _or_nothing(_mapping(_fields(hint, default=given), required))
    if hint is Path:
        return {"type": "string"}
    if hint is NoneType:
        return _NULL
    return dict(TypeAdapter(hint).json_schema())


def _is_plain(hint: Any) -> bool:
    return hint in (int, float, str, bool)


def _length(bounds: Iterable[Any]) -> Node:
    """How many items a list may have."""
    found: Node = {}
    for bound in bounds:
        for one in getattr(bound, "metadata", (bound,)):
            for name, said in (("min_length", "minItems"), ("max_length", "maxItems")):
                if getattr(one, name, None) is not None:
                    found[said] = getattr(one, name)
    return found


def _choice(contract: type[Part]) -> Node:
    """A part: its name, or a mapping from its name to its fields."""
    known = parts(contract)
    alone = [
        name
        for name, part in known.items()
        if not any(field.is_required() for field in schema_fields(part).values())
    ]
    properties = {name: _ref(contract, name) for name in known}
    return {
        "anyOf": [
            {"enum": alone},
            {**_mapping(properties), "minProperties": 1, "maxProperties": 1},
        ]
    }


def _ref(contract: type[Part], name: str) -> Node:
    return {"$ref": f"#/$defs/{contract.kind}.{name}"}
