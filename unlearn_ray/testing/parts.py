"""Checks of every part, of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from unlearn_ray.core.registry import Part, find, parts, summary
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.objectives.base import Objective
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny


def part_checks(part: type[Part]) -> Iterator[Check]:
    """The checks of a part."""
    for check in (
        name_is_snake_case,
        docstring_opens_with_a_sentence,
        fields_are_documented,
        defaults_are_valid_and_unknown_fields_are_not,
    ):
        yield Check(check, part)


def contract_of(part: type[Part]) -> type[Part]:
    """The class that defines the part's kind."""
    return next(base for base in part.__mro__ if "kind" in vars(base))


def name_is_snake_case(part: type[Part]) -> None:
    """The name is snake case, and finds the part."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", part.name)
    assert find(contract_of(part), part.name) is parts(contract_of(part))[part.name]
    assert find(contract_of(part), part.name).__qualname__ == part.__qualname__


def docstring_opens_with_a_sentence(part: type[Part]) -> None:
    """The docstring opens with a sentence, which `--list` shows."""
    # A dataclass without a docstring is given its signature as one.
    assert not (part.__doc__ or "").startswith(f"{part.__name__}(")
    assert summary(part).rstrip().endswith((".", ":", ")"))
    assert len(summary(part)) <= 100


def fields_are_documented(part: type[Part]) -> None:
    """The docstring of the class or of a base class documents each field."""
    own = {field.name for field in _fields(part)} - {f.name for f in _fields(contract_of(part))}
    docs = " ".join(cls.__doc__ or "" for cls in part.__mro__)
    undocumented = own - set(re.findall(r"\w+", docs))
    assert not undocumented, f"document these fields in the docstring: {undocumented}"


def defaults_are_valid_and_unknown_fields_are_not(part: type[Part]) -> None:
    """Data, forget sets, quantities and objectives may need fields; others have defaults."""
    with pytest.raises(ValueError, match="no_such_field"):
        part(no_such_field=1)  # type: ignore[call-arg]
    try:
        default = part()
    except ValueError:
        assert contract_of(part) in (Dataset, ForgetSet, Quantity, Objective)
        return
    part(**{field.name: getattr(default, field.name) for field in _fields(part)})
    tiny(part)


def _fields(part: type[Any]) -> tuple[Any, ...]:
    return fields(part)
