"""The fields and parts of a sweep file as text, for `python -m unlearn_ray.sweep --list`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from textwrap import shorten
from typing import Any

from pydantic.fields import FieldInfo

from unlearn_ray.config.abilities import LEGEND, matrix
from unlearn_ray.config.bundled import bundled, purpose
from unlearn_ray.config.fields import as_written, default_of, field_type, in_words, schema_fields
from unlearn_ray.config.named_ranges import named_ranges
from unlearn_ray.config.sweep_file import default_metrics
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.plugins import broken
from unlearn_ray.core.registry import Part, origin, parts, summary
from unlearn_ray.core.schema import LARGEST_COUNT, field_values
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.scores.base import Score
from unlearn_ray.steps.setting import Setting

CONTRACTS: tuple[type[Part], ...] = (
    *(Dataset, ForgetSet, Model, Family),
    *(Method, Metric, Objective, Score, Logger),
)

_SEARCHED = """\
    a value may be searched: {uniform: [low, high]}, {log_uniform: [low, high]}, {int: [low, high]},
    {log_int: [low, high]}, {choice: [a, b]} or {grid: [1, 2, 4]}; uniform and int take a step, as
    in {int: [1, 9], step: 2}, and all a condition on a choice:
    {when: {field: value}, uniform: [low, high], otherwise: value}
    a method's own ranges have names, recommended and others: methods: [scrub, salun],
    scrub: recommended, scrub: {alpha: recommended} or scrub: {from: paper, epochs: 3};
    scrub: {from: FILE} takes the values of a study of another sweep file, as of sweeps/best"""
# Width of the paper column, in characters.
_PAPER = 110


def describe_parts() -> str:
    """Every field of a sweep and every part, with types and defaults; what methods can do."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield f"sweep (whole numbers are at most {LARGEST_COUNT:,}, unless a bound says otherwise)"
    yield from _sweep()
    yield ""
    for contract in CONTRACTS:
        known = parts(contract)
        width = max(map(len, known), default=0)
        yield contract.kind.replace("_", " ")
        for name, part in known.items():
            source = origin(part)
            yield f"  {name:{width}}  {summary(part)}" + (f"  [{source}]" if source else "")
            yield from _fields(part, "      ")
            if issubclass(part, Method):
                yield from _ranges(part, "      ")
        yield ""
    for error in broken():
        yield f"{error.subject}: {error.reason}"
    yield "bundled sweeps"
    sweeps = bundled()
    width = max(map(len, sweeps), default=0)
    for name, path in sweeps.items():
        yield f"  {name:{width}}  {purpose(path)}"
    yield ""
    yield f"what each method can unlearn ({LEGEND})"
    yield from _matrix()


def _sweep() -> Iterator[str]:
    """The fields of a sweep file, in a sensible order."""
    known = schema_fields(Sweep)
    yield from _field("name", known["name"], "  ", usual="the file's")
    yield from _fields(Setting, "  ")
    yield "  methods: {method: {field: value}}, or {your_name: {method: {field: value}}} (required)"
    yield _SEARCHED
    usual = ", ".join(metric.name for metric in default_metrics())
    yield from _field("metrics", known["metrics"], "  ", usual=f"[{usual}]")
    for name, field in known.items():
        if name not in ("name", "setting", "metrics", "studies"):
            yield from _field(name, field, "  ")


def _matrix() -> Iterator[str]:
    rows = [[*cells, shorten(paper, _PAPER, placeholder=" ...")] for *cells, paper in matrix()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"  {'  '.join(f'{cell:{n}}' for cell, n in zip(row, widths, strict=True))}".rstrip()


def _fields(cls: type, indent: str) -> Iterator[str]:
    for name, field in schema_fields(cls).items():
        yield from _field(name, field, indent)


def _ranges(method: type[Method], indent: str) -> Iterator[str]:
    """What a method declares to be searched, a line for each name."""
    for name, ranges in named_ranges(method).items():
        yield f"{indent}{name}: {in_yaml(ranges)}"


def _field(name: str, field: FieldInfo, indent: str, usual: str | None = None) -> Iterator[str]:
    hint = field_type(field)
    if usual is None and not field.is_required():
        value = default_of(field)
        if is_dataclass(value) and not isinstance(value, Part):
            yield f"{indent}{name}:"
            yield from _nested(value, f"{indent}  ")
            return
        usual = as_written(value)
    yield f"{indent}{name}: {in_words(hint)}" + (f" = {usual}" if usual else " (required)")


def _nested(default: Any, indent: str) -> Iterator[str]:
    """The fields of a nested schema, whose defaults the outer one may override."""
    known = schema_fields(type(default))
    for inner, value in field_values(default).items():
        if is_dataclass(value) and not isinstance(value, Part):
            yield f"{indent}{inner}:"
            yield from _nested(value, f"{indent}  ")
        else:
            yield f"{indent}{inner}: {in_words(field_type(known[inner]))} = {as_written(value)}"
