"""What parts and schemas say of themselves, for pages: docstrings, fields, defaults."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from unlearn_ray.config.fields import as_written, default_of, field_type, in_words, schema_fields
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import field_values
from unlearn_ray.reporting.grid import markdown_grid


def attributes(part: type) -> dict[str, str]:
    """The description of each field, from the docstrings of a part and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(part.__mro__):
        _, _, section = inspect.cleandoc(cls.__dict__.get("__doc__") or "").partition(
            "\nAttributes:\n"
        )
        for entry in re.split(r"\n(?=    \w)", f"\n{section}"):
            names, colon, meaning = " ".join(entry.split()).partition(": ")
            if colon:
                found |= dict.fromkeys(names.split(", "), meaning)
    return found


def module_words(part: type) -> Iterator[str]:
    """The paragraphs of the docstring of the module that a part is in."""
    return _paragraphs(inspect.cleandoc(importlib.import_module(part.__module__).__doc__ or ""))


def class_words(part: type) -> Iterator[str]:
    """The paragraphs of its own docstring, without its fields."""
    own = inspect.cleandoc(part.__doc__ or "")
    return _paragraphs(own.partition("\nAttributes:\n")[0].rstrip())


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs on one line each, so that none begins like a list; others are kept verbatim."""
    for paragraph in filter(None, text.split("\n\n")):
        verbatim = paragraph.startswith((" ", "- "))
        yield paragraph if verbatim else " ".join(paragraph.split())


def fields_grid(
    part: type, names: Collection[str] | None = None, defaults: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A table of a schema's fields; nothing without any.

    Args:
        part: the schema.
        names: the fields to show, in this order; None shows all.
        defaults: what to say of some fields' defaults.
    """
    known = schema_fields(part)
    meanings, said = attributes(part), defaults or {}
    rows = [
        [
            f"`{name}`",
            in_words(field_type(known[name])),
            said.get(name) or usual(part, name),
            meanings.get(name, ""),
        ]
        for name in (known if names is None else names)
    ]
    if rows:
        yield markdown_grid([["field", "takes", "default", "meaning"], *rows])


def usual(part: type, name: str) -> str:
    """A field's default, as a sweep file has it; or that it is required."""
    field = schema_fields(part)[name]
    if field.is_required():
        return "required"
    default: Any = default_of(field)
    if is_dataclass(default) and not isinstance(default, Part):
        return in_yaml(field_values(default))
    return "null" if default is None else as_written(default)
