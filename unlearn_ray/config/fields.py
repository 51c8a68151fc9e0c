"""The fields of a schema: their types in words, and their values read from a sweep file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from unlearn_ray.config.yaml_tree import Problems, Value, in_yaml
from unlearn_ray.core.errors import ConfigError, did_you_mean, listed, shown
from unlearn_ray.core.ranges import RANGE_KINDS
from unlearn_ray.core.registry import Part, find, parts
from unlearn_ray.core.schema import LARGEST_COUNT, field_values

T = TypeVar("T")
P = TypeVar("P", bound=Part)

_CONFIG = ConfigDict(allow_inf_nan=False)
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def schema_fields(cls: type) -> dict[str, FieldInfo]:
    """The fields of a schema, in declaration order."""
    known: dict[str, FieldInfo] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    return known


def field_type(field: FieldInfo) -> Any:
    """A field's type with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def default_of(field: FieldInfo) -> object:
    """The default of a field."""
    return field.get_default(call_default_factory=True, validated_data={})


def in_words(hint: Any) -> str:
    """The values that a type accepts, in words.

    >>> in_words(Annotated[float, Field(gt=0)])
    'number > 0'
    """
    origin = get_origin(hint)
    if origin is Annotated:
        bounds = " and ".join(_bounds(get_args(hint)[1:]))
        return f"{in_words(get_args(hint)[0])} {bounds}".rstrip()
    if origin in (Union, UnionType):
        return " or ".join(in_words(option) for option in get_args(hint))
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if is_dataclass(hint) and isinstance(hint, type) and not issubclass(hint, Part):
        return f"{{{', '.join(schema_fields(hint))}}}"
    if origin in (dict, Mapping):
        return "mapping"
    if origin in (tuple, list):
        items = get_args(hint)
        if origin is list or items[-1] is Ellipsis:
            return f"list of {in_words(items[0])}"
        return f"[{', '.join(map(in_words, items))}]"
    if origin is Mapping:
        return "mapping"
    if isinstance(hint, type) and issubclass(hint, Part):
        kind = hint.kind.replace("_", " ")
        return f"an {kind}" if kind.startswith(tuple("aeiou")) else f"a {kind}"
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    words |= {Path: "path", NoneType: "null"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _with_article(hint: Any) -> str:
    words = in_words(hint)
    return (
        f"a {words}" if words.startswith(("whole", "number", "list", "mapping", "path")) else words
    )


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    words = []
    for item in metadata:
        for constraint in item.metadata if isinstance(item, FieldInfo) else (item,):
            words += [
                f"{sign} {getattr(constraint, name)}"
                for name, sign in _SIGNS.items()
                if getattr(constraint, name, None) not in (None, LARGEST_COUNT)
            ]
    return words


def read_schema(value: Value, cls: type[T], default: T | None = None) -> T:
    """An instance of a schema; fields that the file leaves out are those of `default`.

    Raises:
        ConfigError: what is wrong with the fields, one error each.
    """
    read: dict[str, Any] = {}
    problems = Problems()
    known = schema_fields(cls)
    for name, child in field_nodes(value).items():
        with problems:
            read[name] = read_field(child, cls, name, default)
    if default is None:
        with problems:
            require(value, [name for name, field in known.items() if field.is_required()])
    problems.check()
    try:
        return replace(default, **read) if default is not None else cls(**read)  # type: ignore[type-var]
    except ValidationError as error:
        raise class_problem(value, error, cls) from None


def field_nodes(value: Value) -> dict[str, Value]:
    """The children of a mapping; none of null."""
    if value.content is None:
        return {}
    if not isinstance(value.content, dict):
        raise value.error("a mapping of fields is expected", "write `field: value` lines under it")
    return value.content


def require(value: Value, names: list[str], known: dict[str, str] | None = None) -> None:
    """Refuse a mapping that lacks a field.

    Args:
        value: the mapping.
        names: the fields that it must have.
        known: the values that each may have, for the remedy.
    """
    problems = Problems()
    for name in names:
        if name not in field_nodes(value):
            options = f"; known are {known[name]}" if known and known.get(name) else ""
            missing = replace(value, path=f"{value.path}.{name}".lstrip("."))
            with problems:
                raise missing.error(
                    "required, but missing", f"add `{name}: ...`{options}", show=False
                )
    problems.check()


def known_field(value: Value, name: str, known: dict[str, Any]) -> None:
    """Refuse a field that is not among `known`."""
    if name not in known:
        raise value.error("unknown field", did_you_mean(name, known), show=False)


def read_field(value: Value, cls: type, name: str, default: object = None) -> Any:
    """The value of one field of a schema; a nested schema is read field by field."""
    known = schema_fields(cls)
    known_field(value, name, known)
    hint = field_type(known[name])
    if get_origin(hint) in (Union, UnionType):
        hint = next((option for option in get_args(hint) if _means(value, option)), hint)
    if isinstance(hint, type) and issubclass(hint, Part):
        return read_part(value, hint)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        inner = getattr(default, name) if default is not None else _default(cls, name)
        return read_schema(value, hint, inner if isinstance(inner, hint) else None)
    return validated(value, hint)


def _means(value: Value, option: Any) -> bool:
    """Whether a value looks like one of a union's schemas: a mapping, or the name of a part."""
    if not is_dataclass(option):
        return False
    if isinstance(value.content, str) and isinstance(option, type) and issubclass(option, Part):
        return value.content in parts(option)
    return isinstance(value.content, dict)


def is_range(value: Value, hint: Any) -> bool:
    """Whether a method's field is a range to search: a mapping, where no value is one."""
    if not isinstance(value.content, dict) or is_dataclass(hint):
        return False
    union = get_origin(hint) in (Union, UnionType) and any(map(is_dataclass, get_args(hint)))
    return not union or bool(set(value.content) & set(RANGE_KINDS))


def _default(cls: type, name: str) -> Any:
    for field in fields(cls):
        if field.name == name:
            default = field.default_factory() if callable(field.default_factory) else field.default
            if isinstance(default, FieldInfo):
                default = default.get_default(call_default_factory=True, validated_data={})
            return None if default is MISSING else default
    return None


def validated(value: Value, hint: Any) -> Any:
    """The value as the type, without coercion (neither `true` nor `"3"` is a number)."""
    if isinstance(value.content, dict) and any(
        kind in RANGE_KINDS and isinstance(ends.content, list)
        for kind, ends in value.content.items()
    ):
        raise value.error("only fields of methods can be searched", "write one value")
    if _takes_names(hint) and not (value.content is None and NoneType in get_args(hint)):
        problems = Problems()
        for item in value.content if isinstance(value.content, list) else [value]:
            with problems:
                _check_as_written(item)
        problems.check()
    try:
        text = json.dumps(value.plain)
        return TypeAdapter(hint, config=_CONFIG).validate_json(text, strict=True)
    except ValidationError as error:
        raise problem(value, error, _remedy(value, hint)) from None


def _takes_names(hint: Any) -> bool:
    """Whether a field takes names as numbers or text, alone or in a list."""
    if get_origin(hint) in (Union, UnionType):
        bare = {get_args(one)[0] if get_origin(one) is Annotated else one for one in get_args(hint)}
        return {int, str} <= bare or any(map(_takes_names, get_args(hint)))
    return get_origin(hint) in (tuple, list, Annotated) and any(map(_takes_names, get_args(hint)))


def _check_as_written(item: Value) -> None:
    """Refuse names that YAML reads as another value: 08, 1_0, 010."""
    if item.text is None or (type(item.content) is int and str(item.content) == item.text):
        return
    kind = {bool: "a truth value", NoneType: "no value at all"}
    read = kind.get(type(item.content), f"the number {item.content}")
    raise item.error(
        f"{shown(item.text)} is read as {read}, and may be a name",
        f"write {json.dumps(item.text)} in quotes if it is one, or a number as 0 or 12",
    )


def _remedy(value: Value, hint: Any) -> str:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and isinstance(value.content, str):
        return did_you_mean(value.content, map(str, choices))
    return f"give {_with_article(hint)}"


def problem(value: Value, error: ValidationError, remedy: str) -> ConfigError:
    """Pydantic's objection to a value, as an error at its line."""
    reasons = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        if detail["type"] == "dataclass_type":
            continue  # a plain value was meant; the remedy mentions the other form
        reason = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        reason = reason.replace("Input should be", "must be").replace("be None", "be null")
        reasons.append(reason[:1].lower() + reason[1:])
    listed_reasons = " or ".join(dict.fromkeys(reasons)) or "the field takes another kind of value"
    return value.error(listed_reasons, remedy)


def class_problem(value: Value, error: ValidationError, cls: type) -> ConfigError:
    """A schema's objection to its fields, at the field it names, or else at the mapping."""
    known = schema_fields(cls)
    name = next(iter(error.errors()[0]["loc"]), None)
    if isinstance(name, str) and name in known:
        at = field_nodes(value).get(name, value)
        return problem(at, error, f"give {_with_article(field_type(known[name]))}")
    return problem(value, error, "change one of its fields")


def read_choice(value: Value, contract: type[P]) -> tuple[type[P], Value]:
    """The part that a file names, as `name` or `{name: {field: value}}`, and its fields."""
    content = value.content
    what = contract.kind.replace("_", " ")
    if isinstance(content, str):
        name, inner = content, replace(value, content=None, path=f"{value.path}.{content}")
    elif isinstance(content, dict) and len(content) == 1:
        ((name, inner),) = content.items()
    else:
        raise value.error(
            f"one {what} is expected",
            f"write a name, or {{name: {{field: value}}}}; known are {listed(parts(contract), 20)}",
        )
    return part_named(value if isinstance(content, str) else inner, contract, name), inner


def part_named(value: Value, contract: type[P], name: str) -> type[P]:
    """The part of a name; an unknown name is an error at its line."""
    problems = Problems()
    with problems:
        return find(contract, name)
    error = problems.found[0]
    raise value.error(error.reason, error.remedy)


def read_part(value: Value, contract: type[P]) -> P:
    """A part with its fields."""
    cls, inner = read_choice(value, contract)
    return read_schema(inner, cls)


def label(part: Part) -> str:
    """A part in a few words: its name and the fields that differ from their defaults.

    >>> label(Random(fraction=0.1))
    'random(fraction=0.1)'
    """
    words = list(_differences(part, ""))
    return f"{part.name}({', '.join(words)})" if words else part.name


def as_written(value: object) -> str:
    """A field's value in sweep-file syntax; a part in a few words."""
    return label(value) if isinstance(value, Part) else in_yaml(value)


def _differences(instance: object, path: str) -> list[str]:
    words: list[str] = []
    unshown = instance.unshown if isinstance(instance, Part) else ()
    for name, value in field_values(instance).items():
        if name in unshown:
            continue
        default = _default(type(instance), name)
        if is_dataclass(value) and type(value) is type(default):
            words += [
                f"{path}{name}.{inner}={as_written(getattr(value, inner))}"
                for inner, usual in field_values(default).items()
                if getattr(value, inner) != usual
            ]
        elif value != default:
            words.append(f"{path}{name}={as_written(value)}")
    return words
