"""`schema`: the one way to declare a part's fields.

A schema is a frozen, keyword-only pydantic dataclass that forbids unknown fields. Its fields
are at once its documentation, its YAML, its searchable space and its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

T = TypeVar("T")

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
UnitInterval = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# More than any count needs: no dataset that a machine holds has as many images.
LARGEST_COUNT = 10_000_000
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
# Each is built, one after the other, while a sweep is planned.
Layers = Annotated[int, Field(gt=0, le=1000)]
# NumPy's RandomState, which permutes the samples as MUC's code does, takes no more than 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# Arguments for another library's function, by name. A part declares a field of this type with
# `field(default_factory=dict, hash=False)`.
_Argument = bool | int | float | str | None
Arguments = Mapping[str, _Argument | tuple[_Argument, ...]]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def schema(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass whose values pydantic validates."""
    config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False, defer_build=True)
    return pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[return-value]


def field_values(instance: object) -> dict[str, Any]:
    """The fields of a schema with their values, defaults included, in declaration order."""
    return {field.name: getattr(instance, field.name) for field in fields(instance)}  # type: ignore[arg-type]
