"""What a sweep file can name, in text: for `python -m unlearn_ray.sweep --list`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from textwrap import shorten

from unlearn_ray.core.registry import Part, parts, summary
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.pipeline.abilities import LEGEND, matrix
from unlearn_ray.pipeline.fields import default_of, field_type, in_words, schema_fields
from unlearn_ray.pipeline.loggers.base import Logger

CONTRACTS: tuple[type[Part], ...] = (Dataset, ForgetSet, Model, Family, Method, Metric, Logger)

# Columns of a paper's name.
_PAPER = 110


def describe_parts() -> str:
    """Every registered part with its fields, their types and defaults; what methods can do."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for contract in CONTRACTS:
        known = parts(contract)
        width = max(map(len, known), default=0)
        yield contract.kind.replace("_", " ")
        for name, part in known.items():
            yield f"  {name:{width}}  {summary(part)}"
            yield from _fields(part, "      ")
        yield ""
    yield f"which method can unlearn what ({LEGEND})"
    yield from _matrix()


def _matrix() -> Iterator[str]:
    rows = [[*cells, shorten(paper, _PAPER, placeholder=" ...")] for *cells, paper in matrix()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"  {'  '.join(f'{cell:{n}}' for cell, n in zip(row, widths, strict=True))}".rstrip()


def _fields(cls: type, indent: str) -> Iterator[str]:
    for name, field in schema_fields(cls).items():
        hint = field_type(field)
        if is_dataclass(hint) and not field.is_required():
            yield f"{indent}{name}:"
            for inner, value in field_values(default_of(field)).items():
                takes = in_words(field_type(schema_fields(type(default_of(field)))[inner]))
                yield f"{indent}  {inner}: {takes} = {value}"
        elif field.is_required():
            yield f"{indent}{name}: {in_words(hint)} (required)"
        else:
            yield f"{indent}{name}: {in_words(hint)} = {default_of(field)}"
