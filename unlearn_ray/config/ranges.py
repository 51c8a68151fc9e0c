"""Ranges: fields of a method that a sweep file leaves to the search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from unlearn_ray.config.fields import in_words, validated
from unlearn_ray.config.sweep_schema import RANGE_KINDS, Range, RangeKind
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import did_you_mean

# Each choice is validated while a sweep is planned.
_MOST_CHOICES = 1000


def read_range(value: Value, hint: Any) -> Range:
    """A range from `{kind: [low, high]}` or `{choice: [a, b, ...]}`.

    Both ends, or every choice, must be valid values of the field.

    Args:
        value: the mapping.
        hint: the field's type with its bounds.

    Raises:
        ConfigError: what is wrong with the range, at its line.
    """
    content = value.content
    if len(content) != 1:
        raise value.error(
            "a range has exactly one kind", "write {uniform: [low, high]} or {choice: [a, b]}"
        )
    ((kind, inner),) = content.items()
    if kind not in RANGE_KINDS:
        raise value.error(f"unknown kind of range {kind}", did_you_mean(kind, RANGE_KINDS))
    if kind == "choice":
        return Range(kind="choice", choices=_choices(inner, hint))
    low, high = _ends(inner, kind, hint)
    return Range(kind=cast(RangeKind, kind), low=low, high=high)


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


def _ends(value: Value, kind: str, hint: Any) -> tuple[float, float]:
    _check_kind(value, kind, hint)
    ends = value.content
    if not isinstance(ends, list) or len(ends) != 2:
        raise value.error("a range has two ends", f"write {{{kind}: [low, high]}}")
    number = int if kind == "int" else float
    low, high = (validated(end, number) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise value.error("an end of the range is not finite", "give two finite numbers")
    if low >= high:
        remedy = "put the lower end first" if low > high else "write the value itself"
        raise value.error(f"empty range: {ends[0].plain} is not below {ends[1].plain}", remedy)
    if not math.isfinite(high - low):
        raise value.error("the range is too wide for 64-bit numbers", "narrow it")
    if kind == "log_uniform" and low <= 0:
        raise value.error("a logarithmic range reaches zero", "raise the lower end, or use uniform")
    problems = Problems()
    for end in ends:
        with problems:
            validated(end, hint)
    problems.check()
    return low, high


def _check_kind(value: Value, kind: str, hint: Any) -> None:
    """Whole numbers are searched with `int`, real ones with `uniform` or `log_uniform`."""
    taken = set(_scalars(hint))
    if not taken & {int, float}:
        raise value.error(f"{in_words(hint)} has no numeric range", "use {choice: [...]}")
    if kind == "int" and int not in taken:
        raise value.error("the field takes real numbers", "use uniform or log_uniform")
    if kind != "int" and float not in taken:
        raise value.error("the field takes whole numbers", "use int")


def _scalars(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _scalars(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for option in get_args(hint):
            yield from _scalars(option)
    else:
        yield hint
