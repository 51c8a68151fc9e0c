"""Generates docs/errors.md, the tree of errors with exit statuses, from `core/errors.py`.

python -m unlearn_ray.reporting.errors_page > docs/errors.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from unlearn_ray.core import errors
from unlearn_ray.core.errors import Exit, UnlearnRayError, exit_status_of
from unlearn_ray.reporting.grid import markdown_grid

_HEAD = """\
# Errors

Every error is one line, `subject: reason; remedy`: the value, why it is wrong and what to do; in a
sweep file with its line, and with the name that was probably meant. All derive from
`unlearn_ray.core.errors.UnlearnRayError`, so that Python code may catch them at any level of this
tree. What is wrong with a sweep is said when it is planned, before anything is spent. `make docs`
writes this page.

```console
$ unlearn-ray plan quickstart --set search.trails=5
error: --set search.trails=5: unknown field; did you mean trials?
```

## Exit statuses
"""
_STATUSES = {
    Exit.DONE: "everything was done",
    Exit.SOME_FAILED: "a reference step or some trials failed; the others are done",
    Exit.BAD_INPUT: "a sweep file, an option, data or a name is wrong",
    Exit.STORE: "the store cannot be reached, read or written",
    Exit.CLUSTER: "Ray did not start, does not answer or was lost",
    Exit.MACHINE: "this machine lacks a folder, a permission, space, memory or a package",
    Exit.INTERNAL: "a bug in this program; its traceback is in a file that the message names",
    Exit.INTERRUPTED: "interrupted; the same command goes on",
}


def errors_page() -> str:
    """The page, as Markdown."""
    statuses = [["status", "means"], *([f"{each:d}", _STATUSES[each]] for each in Exit)]
    tree = [["error", "exit status", "means"], *_tree(UnlearnRayError, 0)]
    blocks = [_HEAD.rstrip(), markdown_grid(statuses), "## The tree", markdown_grid(tree)]
    return "\n\n".join(blocks) + "\n"


def _tree(kind: type[UnlearnRayError], depth: int) -> Iterator[list[str]]:
    """A line for an error and each below it, of `core/errors.py` alone."""
    indent = "&nbsp;" * 4 * depth
    status = exit_status_of(kind) if depth else None
    first = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    shown = "" if status is None else f"{status:d}"
    yield [f"{indent}`{kind.__name__}`", shown, " ".join(first.split())]
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below, depth + 1)


if __name__ == "__main__":
    sys.stdout.write(errors_page())
