"""A sweep as a file: every default written out, read back as the same sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import PurePath
from typing import Any

from unlearn_ray.config.fields import default_of, schema_fields
from unlearn_ray.config.named_ranges import METHODS
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.config.yaml_text import Comments, in_flow, yaml_text
from unlearn_ray.core.errors import without_secrets
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import field_values
from unlearn_ray.objectives.base import Objective
from unlearn_ray.steps.setting import Setting

# Of `Sweep`, in other places of the file.
_ELSEWHERE = ("name", "setting", "metrics", "studies", "objective")


def sweep_text(sweep: Sweep, head: Sequence[str] = ()) -> str:
    """The sweep in YAML.

    What a study leaves at its method's defaults stands in comments: as values, these would be fixed
    fields, which are part of a study's identity.

    Args:
        sweep: any.
        head: lines of comment at the top.
    """
    below: Comments = {(METHODS, study.name): _defaults(study) for study in sweep.studies}
    return yaml_text(sweep_values(sweep), head, below=below)


def sweep_values(sweep: Sweep) -> dict[str, Any]:
    """The fields of the file, in plain values."""
    known = schema_fields(Sweep)
    return {
        "name": sweep.name,
        **{name: written(getattr(sweep.setting, name)) for name in schema_fields(Setting)},
        "metrics": written(sweep.metrics),
        METHODS: {study.name: _study(study) for study in sweep.studies},
        **_goal(sweep.objective),
        **{name: written(getattr(sweep, name)) for name in known if name not in _ELSEWHERE},
    }


def _goal(objective: Objective) -> dict[str, Any]:
    """The fields that say what is searched for; constraints where there are any."""
    each = [written(one) for one in objective.each()]
    constraints = [str(one) for one in objective.constraints_of()]
    said = {"objective": each[0] if len(each) == 1 else each}
    return {**said, **({"constraints": constraints} if constraints else {})}


def written(value: Any) -> Any:
    """A value in the types of YAML; parts with all their fields, URLs without passwords."""
    if isinstance(value, Part):
        fields = {name: written(one) for name, one in field_values(value).items()}
        return {value.name: fields} if fields else value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {name: written(one) for name, one in field_values(value).items()}
    if isinstance(value, Mapping):
        return {str(name): written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [written(one) for one in value]
    if isinstance(value, str | PurePath):
        return without_secrets(str(value))
    return value


def _study(study: Study) -> dict[str, Any]:
    fields = {name: written(value) for name, value in study.fixed.items()}
    fields |= {name: written(one.as_mapping()) for name, one in study.space.items()}
    return {study.method.name: fields} if study.own_name else fields


def _defaults(study: Study) -> list[str]:
    """The fields that a study leaves at their defaults, as a comment."""
    left = {
        name: written(default_of(field))
        for name, field in schema_fields(study.method).items()
        if name not in study.fixed and name not in study.space
    }
    if not left:
        return []
    return [f"defaults: {', '.join(f'{name}={in_flow(value)}' for name, value in left.items())}"]
