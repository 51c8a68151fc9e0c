"""Generates docs/sweep.md, every field of a sweep file, from its schemas.

python -m unlearn_ray.reporting.sweep_page > docs/sweep.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from unlearn_ray.config.fields import default_of, schema_fields
from unlearn_ray.config.sweep_schema import (
    Bank,
    Budget,
    Keep,
    Resources,
    Search,
    Seeds,
    Sweep,
)
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Part, parts, summary
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.brought import Original
from unlearn_ray.loggers.base import Logger
from unlearn_ray.measure.probe import Probe
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.reporting.part_words import class_words, fields_grid
from unlearn_ray.steps.setting import Setting
from unlearn_ray.train.sparsity import Sparsity

_HEAD = """\
# The sweep file

Every field, from its schema; `make docs` writes this page. A field that is misspelt, of another
type or out of its bounds is refused with its line and the nearest name. `unlearn-ray schema` prints
the same as a JSON Schema, with which editors complete and check sweep files; `--set
search.trials=5` overrides a field by its path.

A *part* (a dataset, a model, a method ...) is written as its name, or as `{name: {field: value}}`.
Everything that numbers depend on enters a key ([Identity](identity.md)); `store`, `resources`,
`budget`, `log`, `keep` and `checkpoint_minutes` do not.
"""
_METHODS = """\
## methods

`{method: {field: value}}`, or `{your_name: {method: {field: value}}}` for several studies of a
method; or a list of methods, each with its recommended ranges. A value may be a range to search:
[Searching hyperparameters](search.md). Each method's fields: [Methods](methods.md). `metrics` are
listed in [Metrics](metrics.md), `scores` in [Scores](scores.md); samplers and pruners, and how
objectives are combined, in [Objectives](objectives.md), as are `constraints`, bounds such as
`test_accuracy_gap <= 1`."""
# Mappings of a sweep file, by the name of their field.
_NESTED: dict[str, type] = {
    "training": Recipe,
    "sparsity": Sparsity,
    "probe": Probe,
    "original": Original,
    "search": Search,
    "seeds": Seeds,
    "bank": Bank,
    "resources": Resources,
    "budget": Budget,
    "keep": Keep,
}
# What a default says of fields whose default is another's, or a mapping that is shown below.
_DEFAULTS = {
    "name": "the file's",
    "metrics": "[MUC's](metrics.md)",
    **{
        name: f"[see below](#{name})"
        for name in _NESTED
        if name not in ("bank", "original", "sparsity")
    },
}
_CONTRACTS: tuple[type[Part], ...] = (Dataset, ForgetSet, Model, Family, Objective, Logger)
_NOTES = {
    "resources": "`training:` for pretraining and retraining, `trial:` for unlearning and "
    "measuring; each has these fields.",
}


def sweep_page() -> str:
    """The page, as Markdown."""
    own = [name for name in schema_fields(Sweep) if name not in ("setting", "studies")]
    blocks = [_HEAD.rstrip(), "## The problem", *fields_grid(Setting, defaults=_DEFAULTS)]
    blocks += [_METHODS, "## The sweep", *fields_grid(Sweep, own, _DEFAULTS)]
    for name, cls in _NESTED.items():
        note = [_NOTES[name]] if name in _NOTES else []
        blocks += [f"## {name}", *class_words(cls), *note, *fields_grid(cls)]
    for contract in _CONTRACTS:
        blocks += _contract(contract)
    return "\n\n".join(blocks) + "\n"


def _contract(contract: type[Part]) -> Iterator[str]:
    """All parts of a contract, each with its fields."""
    yield f"## {contract.kind.replace('_', ' ').capitalize()}: the choices"
    for name, part in parts(contract).items():
        yield f"### {name}"
        yield summary(part)
        yield from fields_grid(part)
        for field, cls in _schemas(part):
            yield f"`{field}` has these fields:"
            yield from fields_grid(cls)


def _schemas(part: type[Part]) -> Iterator[tuple[str, type]]:
    """The fields of a part whose values are mappings of their own."""
    for name, field in schema_fields(part).items():
        default: Any = None if field.is_required() else default_of(field)
        if is_dataclass(default) and not isinstance(default, Part):
            yield name, type(default)


if __name__ == "__main__":
    sys.stdout.write(sweep_page())
