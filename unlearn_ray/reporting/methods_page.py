"""Generates docs/methods.md, the page of all methods, from docstrings and fields.

python -m unlearn_ray.reporting.methods_page > docs/methods.md
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields

from unlearn_ray.config.abilities import LEGEND, matrix
from unlearn_ray.config.fields import default_of, field_type, in_words, schema_fields
from unlearn_ray.config.named_ranges import RECOMMENDED, named_ranges
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.methods.base import Method, TrainingMethod
from unlearn_ray.reporting.grid import markdown_grid

_HEAD = f"""\
# Methods

What each method of `unlearn_ray/methods/` is, takes and can unlearn, from its own docstrings;
`make docs` writes this page. In the columns of families, {LEGEND}; where a letter
is missing, `plan` refuses the method and says why.
"""


def methods_page() -> str:
    """The page, as Markdown."""
    blocks = [_HEAD.rstrip(), markdown_grid(list(matrix()))]
    for name, method in parts(Method).items():
        blocks += [f"## {name}", *_words(_module_doc(method)), *_words(_class_doc(method))]
        blocks += _fields(method)
    return "\n\n".join(blocks) + "\n"


def _fields(method: type[Method]) -> Iterator[str]:
    """A table of a method's own fields, and a line of its recipe, if it has one."""
    trains = issubclass(method, TrainingMethod)
    recipe = {field.name for field in fields(Recipe)} if trains else set()
    known = schema_fields(method)
    own = [name for name in known if name not in recipe]
    if own:
        meanings = attributes(method)
        rows = [["field", "takes", "default", "meaning"]]
        for name in own:
            takes = in_words(field_type(known[name]))
            shown = "required" if known[name].is_required() else _shown(default_of(known[name]))
            rows.append([f"`{name}`", takes, shown, meanings.get(name, "")])
        yield markdown_grid(rows)
    usual = [f"`{name}` {_shown(default_of(known[name]))}" for name in known if name in recipe]
    if usual:
        yield f"Recipe: {', '.join(usual)}."
    for name, ranges in named_ranges(method).items():
        what = "Recommended ranges" if name == RECOMMENDED else f"Ranges `{name}`"
        each = ", ".join(f"`{field}` {in_yaml(one)}" for field, one in ranges.items())
        yield f"{what}: {each}."


def _shown(default: object) -> str:
    """A value in YAML."""
    return "null" if default is None else str(default)


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


def _module_doc(method: type[Method]) -> str:
    return inspect.cleandoc(importlib.import_module(method.__module__).__doc__ or "")


def _class_doc(method: type[Method]) -> str:
    return inspect.cleandoc(method.__doc__ or "").partition("\nAttributes:\n")[0].rstrip()


def _words(text: str) -> Iterator[str]:
    """Paragraphs on one line each, so that none begins like a list; others are kept verbatim."""
    for paragraph in filter(None, text.split("\n\n")):
        verbatim = paragraph.startswith((" ", "- "))
        yield paragraph if verbatim else " ".join(paragraph.split())


if __name__ == "__main__":
    sys.stdout.write(methods_page())
