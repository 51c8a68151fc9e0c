"""The field `methods` of a sweep file: its studies.

`method: {field: value}` is a study named after its method, `name: {method: {field: value}}` one
with a name of its own. A value may be a range (`config.ranges`) or a name of ranges
(`config.named_ranges`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from unlearn_ray.config.fields import (
    class_problem,
    default_of,
    field_nodes,
    field_type,
    is_range,
    known_field,
    read_choice,
    read_field,
    require,
    schema_fields,
)
from unlearn_ray.config.named_ranges import written_out
from unlearn_ray.config.ranges import read_range, settled
from unlearn_ray.config.sweep_schema import Study
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import closest, did_you_mean, listed
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.registry import missing, parts
from unlearn_ray.core.runs import LONGEST_NAME, ORIGINAL, RETRAIN
from unlearn_ray.methods.base import Method

# Trial folders are named after the sweep.
_OWN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def read_studies(value: Value) -> tuple[Study, ...]:
    """The studies, in the order of the file.

    Raises:
        ConfigError: what is wrong with them, one error each.
    """
    nodes = field_nodes(value)
    if not nodes:
        raise value.error("no methods", f"name some of {listed(parts(Method), 20)}", show=False)
    problems = Problems()
    studies = []
    for name, node in nodes.items():
        with problems:
            studies.append(_entry(node, name))
    problems.check()
    return tuple(studies)


def _entry(value: Value, name: str) -> Study:
    """A study: a method with its fields, or a name that holds one."""
    known = parts(Method)
    if name in known:
        return _study(value, known[name])
    if not _holds_method(value, name):
        remedy = did_you_mean(name, known)
        if closest(name, known) is None:
            remedy += f"; a study of your own name is {name}: {{method: {{field: value}}}}"
        raise value.error(f"unknown method{missing()}", remedy)
    if name in (RETRAIN, ORIGINAL):
        raise value.error("this is the name of a reference model", "choose another name")
    if not _OWN_NAME.fullmatch(name):
        raise value.error(
            "a study's name has only letters, digits, `_`, `-` and `.`, the last two not at the "
            "start",
            "choose another name",
        )
    if len(name) > LONGEST_NAME:
        reason = f"a study's name has {LONGEST_NAME} characters at most"
        raise value.error(reason, "choose a shorter name")
    cls, inner = read_choice(value, Method)
    return _study(inner, cls, name)


def _holds_method(value: Value, name: str) -> bool:
    """Whether the value of `name`, which is not a method's name, is meant as a method."""
    known = parts(Method)
    inner = list(value.content) if isinstance(value.content, dict) else []
    if isinstance(value.content, str):
        return value.content in known or closest(name, known) is None
    if known.keys() & set(inner):
        return True
    # The typo is in the inner name rather than in the outer one.
    return len(inner) == 1 and closest(inner[0], known) is not None and closest(name, known) is None


def _study(value: Value, cls: type[Method], own_name: str | None = None) -> Study:
    value = replace(value, content=written_out(value, cls, own_name or cls.name))
    fixed: dict[str, Any] = {}
    space: dict[str, Range] = {}
    problems = Problems()
    known = schema_fields(cls)
    for name, node in field_nodes(value).items():
        with problems:
            known_field(node, name, known)
            hint = field_type(known[name])
            if is_range(node, hint) and cls.reads_weights:
                reason = f"{cls.name} has nothing to search: its weights are made elsewhere"
                raise node.error(reason, "write one value", show=False)
            if is_range(node, hint):
                space[name] = read_range(node, hint, known)
            else:
                fixed[name] = read_field(node, cls, name)
    with problems:
        require(value, [name for name, field in known.items() if field.is_required()])
    problems.check()
    usual = {name: default_of(field) for name, field in known.items() if name not in fixed}
    for name in space:
        with problems:
            space[name] = settled(field_nodes(value)[name], name, space, {**usual, **fixed})
    problems.check()
    study = Study(method=cls, fixed=fixed, space=space, own_name=own_name)
    for point in study.corners():
        try:
            study.at(point)
        except ValidationError as error:
            raise class_problem(value, error, cls) from None
    return study
