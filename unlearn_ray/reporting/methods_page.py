"""Generates docs/methods.md, the page of all methods, from docstrings and fields.

python -m unlearn_ray.reporting.methods_page > docs/methods.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields

from unlearn_ray.config.abilities import LEGEND, matrix
from unlearn_ray.config.fields import schema_fields
from unlearn_ray.config.named_ranges import RECOMMENDED, named_ranges
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.methods.base import Method, TrainingMethod
from unlearn_ray.reporting.grid import markdown_grid
from unlearn_ray.reporting.part_words import class_words, fields_grid, module_words, usual

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
        blocks += [f"## {name}", *module_words(method), *class_words(method)]
        blocks += _fields(method)
    return "\n\n".join(blocks) + "\n"


def _fields(method: type[Method]) -> Iterator[str]:
    """A table of a method's own fields, and a line of its recipe, if it has one."""
    trains = issubclass(method, TrainingMethod)
    recipe = {field.name for field in fields(Recipe)} if trains else set()
    known = schema_fields(method)
    own = [name for name in known if name not in recipe]
    yield from fields_grid(method, own)
    of_recipe = [f"`{name}` {usual(method, name)}" for name in known if name in recipe]
    if of_recipe:
        yield f"Recipe: {', '.join(of_recipe)}."
    for name, ranges in named_ranges(method).items():
        what = "Recommended ranges" if name == RECOMMENDED else f"Ranges `{name}`"
        each = ", ".join(f"`{field}` {in_yaml(one)}" for field, one in ranges.items())
        yield f"{what}: {each}."


if __name__ == "__main__":
    sys.stdout.write(methods_page())
