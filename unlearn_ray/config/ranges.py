"""Ranges: fields of a method that a sweep file leaves to the search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from unlearn_ray.config.fields import field_type, in_words, known_field, validated
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import did_you_mean
from unlearn_ray.core.ranges import (
    OTHERWISE,
    RANGE_KINDS,
    STEP,
    WHEN,
    Range,
    RangeKind,
    is_one_of,
)

# Each choice is validated while a sweep is planned.
_MOST_CHOICES = 1000
_MOST_STEPS = 1_000_000
_EXTRAS = (STEP, WHEN, OTHERWISE)


def read_range(value: Value, hint: Any, fields: Mapping[str, FieldInfo] | None = None) -> Range:
    """A range: `{kind: [low, high]}` or `{choice: [a, b, ...]}`, perhaps with a step or condition.

    Both ends, or every choice, must be valid values of the field.

    Args:
        value: the mapping.
        hint: the field's type with its bounds.
        fields: those of the method, which a condition may name.

    Raises:
        ConfigError: what is wrong with the range, at its line.
    """
    content = value.content
    kinds = [name for name in content if name not in _EXTRAS]
    if len(kinds) != 1:
        raise value.error(
            "a range has exactly one kind", "write {uniform: [low, high]} or {choice: [a, b]}"
        )
    (kind,) = kinds
    inner = content[kind]
    if kind not in RANGE_KINDS:
        raise value.error(
            f"unknown kind of range {kind}", did_you_mean(kind, (*RANGE_KINDS, *_EXTRAS))
        )
    if kind == "choice":
        read = Range(kind="choice", choices=_choices(inner, hint))
    elif kind == "grid":
        read = Range(kind="grid", choices=_grid(inner, hint))
    else:
        low, high = _ends(inner, kind, hint)
        read = Range(kind=cast(RangeKind, kind), low=low, high=high)
    if STEP in content:
        read = replace(read, step=_step(content[STEP], read))
    if WHEN in content:
        read = replace(read, when=_when(content[WHEN], fields or {}))
    if OTHERWISE in content:
        if WHEN not in content:
            remedy = "add when: {field: value}, or remove it"
            raise content[OTHERWISE].error("the field is always searched", remedy)
        read = replace(read, otherwise=(validated(content[OTHERWISE], hint),))
    return read


def _choices(value: Value, hint: Any) -> tuple[Any, ...]:
    if not isinstance(value.content, list) or not value.content:
        raise value.error("no choices", "list at least two, as in {choice: [a, b]}")
    if len(value.content) > _MOST_CHOICES:
        raise value.error(f"more than {_MOST_CHOICES:,} choices", "use a range of numbers")
    problems = Problems()
    choices: list[Any] = []
    for item in value.content:
        with problems:
            if isinstance(item.content, list | dict):
                raise item.error("each choice must be a single value", f"give {in_words(hint)}")
            choice = validated(item, hint)
            if choice in choices:
                raise item.error("listed twice", "list every choice once")
            choices.append(choice)
    problems.check()
    if len(choices) == 1:
        raise value.error("a single choice leaves nothing to search", "write the value itself")
    return tuple(choices)


def _grid(value: Value, hint: Any) -> tuple[Any, ...]:
    if not set(_scalars(hint)) & {int, float}:
        raise value.error(f"{in_words(hint)} has no numeric range", "use {choice: [...]}")
    values = _choices(value, hint)
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in values):
        raise value.error("a grid has numbers only", "use {choice: [...]}")
    if list(values) != sorted(values):
        raise value.error("a grid is in order", "list the numbers from the lowest to the highest")
    return values


def _ends(value: Value, kind: str, hint: Any) -> tuple[float, float]:
    _check_kind(value, kind, hint)
    ends = value.content
    if not isinstance(ends, list) or len(ends) != 2:
        raise value.error("a range has two ends", f"write {{{kind}: [low, high]}}")
    number = int if kind in ("int", "log_int") else float
    low, high = (validated(end, number) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise value.error("an end of the range is not finite", "give two finite numbers")
    if low >= high:
        remedy = "put the lower end first" if low > high else "write the value itself"
        raise value.error(f"empty range: {ends[0].plain} is not below {ends[1].plain}", remedy)
    if not math.isfinite(high - low):
        raise value.error("the range is too wide for 64-bit numbers", "narrow it")
    if kind.startswith("log_") and low <= 0:
        other = "uniform" if kind == "log_uniform" else "int"
        reason = "a logarithmic range reaches zero"
        raise value.error(reason, f"raise the lower end, or use {other}")
    problems = Problems()
    for end in ends:
        with problems:
            validated(end, hint)
    problems.check()
    return low, high


def _check_kind(value: Value, kind: str, hint: Any) -> None:
    """Whole numbers are searched with `int`, real ones with `uniform`; both may be logarithmic."""
    taken = set(_scalars(hint))
    if not taken & {int, float}:
        raise value.error(f"{in_words(hint)} has no numeric range", "use {choice: [...]}")
    whole = kind in ("int", "log_int")
    if whole and int not in taken:
        raise value.error("the field takes real numbers", "use uniform or log_uniform")
    if not whole and float not in taken:
        raise value.error("the field takes whole numbers", "use int or log_int")


def _scalars(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _scalars(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for option in get_args(hint):
            yield from _scalars(option)
    else:
        yield hint


def _step(value: Value, of: Range) -> float:
    if of.kind not in ("uniform", "int"):
        raise value.error(f"{of.kind} has no steps", "use uniform or int, or list a grid")
    step: float = validated(value, int if of.kind == "int" else float)
    if not step > 0 or not math.isfinite(step):
        raise value.error("must be greater than 0", "give the distance of two values")
    stepped = replace(of, step=step)
    if (of.high - of.low) / step > _MOST_STEPS:
        raise value.error(f"more than {_MOST_STEPS:,} steps", "take a larger step, or none")
    if not stepped.holds(of.ends[1]) or stepped.count == 1:
        last = of.low + step * int((of.high - of.low) / step)
        remedy = f"end at {last:g} or {last + step:g}, or change the step"
        raise value.error("the range is not a whole number of steps", remedy)
    return step


def _when(value: Value, fields: Mapping[str, FieldInfo]) -> dict[str, tuple[Any, ...]]:
    """The values that other fields must have."""
    if not isinstance(value.content, dict) or not value.content:
        raise value.error("no condition", "write when: {field: value}")
    problems = Problems()
    read: dict[str, tuple[Any, ...]] = {}
    for name, node in value.content.items():
        with problems:
            known_field(node, name, dict(fields))
            hint = field_type(fields[name])
            items = node.content if isinstance(node.content, list) else [node]
            if not items:
                raise node.error("no value", "write when: {field: value}")
            read[name] = tuple(validated(item, hint) for item in items)
    problems.check()
    return read


def settled(
    value: Value, name: str, space: Mapping[str, Range], values: Mapping[str, Any]
) -> Range:
    """A range whose conditions are checked against the other fields.

    A condition on a field that is searched, as a choice, stays; one that always holds is dropped.

    Args:
        value: the range, in the file.
        name: its field.
        space: all searched fields.
        values: those of the fields that are not searched.

    Raises:
        ConfigError: a condition can never hold, or does not depend on a choice.
    """
    own = space[name]
    kept: dict[str, tuple[Any, ...]] = {}
    for other, allowed in own.when.items():
        at = value.content[WHEN]
        if other not in space:
            if not is_one_of(values[other], allowed):
                raise at.error(
                    f"never searched: {other} is {values[other]!r}",
                    f"search {other} with a choice, or remove the condition",
                )
            continue
        parent = space[other]
        if parent.kind not in ("choice", "grid") or parent.when or other == name:
            reason = f"{other} is no choice that is always searched"
            raise at.error(reason, f"write {other}: {{choice: [...]}}, or remove the condition")
        if missing := [one for one in allowed if not parent.holds(one)]:
            reason = f"{other} is never {missing[0]!r}"
            raise at.error(reason, f"name one of its choices, {list(parent.choices)}")
        kept[other] = allowed
    return replace(own, when=kept, otherwise=own.otherwise if kept else ())
