"""Sweep files and `--set` as trees of values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unlearn_ray.config.bundled import nearest
from unlearn_ray.config.yaml_nodes import parse, text_fault
from unlearn_ray.config.yaml_tree import Value
from unlearn_ray.core.errors import ConfigError, DataError, shortened, without_secrets
from unlearn_ray.core.printable import printable
from unlearn_ray.core.text_files import read_text

# The largest sweep in sweeps/ has 5 kB; PyYAML reads about 100 kB in a second.
_LARGEST_FILE = 250_000
_LARGEST_OPTION = 10_000
_FILE = "sweep file"
# Limits of a `--set`: nested names, and characters.
_DEEPEST, _SHOWN = 20, 120


def read_tree(path: Path) -> Value:
    """The file's top mapping.

    Raises:
        ConfigError: the file is missing, unreadable, empty, not YAML or not a mapping.
    """
    origin = shortened(printable(str(path)), _SHOWN)
    tree = parse(file_text(path), origin, "")
    if tree.content is None:
        raise ConfigError(
            origin, "empty", "give at least dataset, forget_set, model, family, methods"
        )
    if not isinstance(tree.content, dict):
        raise tree.error("a sweep file is a mapping of fields", "write `field: value` lines")
    return tree


def file_text(path: Path) -> str:
    """The text of a sweep file.

    Raises:
        ConfigError: the file is missing or unreadable.
    """
    try:
        return read_text(str(path), _FILE, "name a sweep file that can be read", _LARGEST_FILE)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            origin = shortened(printable(str(path)), _SHOWN)
            raise ConfigError(origin, "no such file", nearest(path)) from None
        subject = error.subject.removeprefix(f"{_FILE} = ")
        raise ConfigError(subject, error.reason, error.remedy) from None


def override(tree: Value, assignment: str) -> Value:
    """The tree with one `key=value` applied: a dotted path and a YAML value.

    Raises:
        ConfigError: not of that form, or the path leads through a value without fields.
    """
    key, equals, text = assignment.partition("=")
    names = key.strip().split(".")
    written = shortened(printable(without_secrets(assignment)), _SHOWN)
    # The value may hold a password.
    option = "--set store=URL" if names[0] == "store" else f"--set {written}"
    if not equals or not all(names):
        raise ConfigError(
            option, "not of the form key=value", "write --set methods.finetune.epochs=5"
        )
    if len(names) > _DEEPEST or len(assignment) > _LARGEST_OPTION:
        raise ConfigError(
            option,
            f"more than {_DEEPEST} names or {_LARGEST_OPTION:,} characters",
            "write it in the file",
        )
    fault = text_fault(key)
    if fault is not None:
        raise ConfigError(option, f"a name {fault}", "write --set methods.finetune.epochs=5")
    return _put(tree, names, parse(text, option, ".".join(names), override=True))


def _put(parent: Value, names: list[str], new: Value) -> Value:
    content = parent.content
    if content is None:
        content = {}
    if isinstance(content, str) and len(names) > 1:
        # `dataset: digits` is short for `dataset: {digits: {}}`.
        content = {content: replace(parent, content=None, path=f"{parent.path}.{content}")}
    if not isinstance(content, dict):
        raise new.error(f"{parent.path} has no fields", f"write --set {parent.path}=VALUE")
    # A study's name may hold dots.
    ends = [end for end in range(1, len(names) + 1) if ".".join(names[:end]) in content]
    if len(ends) > 1:
        each = " or ".join(f"{parent.path}.{'.'.join(names[:end])}".lstrip(".") for end in ends)
        raise new.error(f"ambiguous: {each}", "rename one of them, or change it in the file")
    end = max(ends, default=1)
    name, rest = ".".join(names[:end]), names[end:]
    if rest:
        path = f"{parent.path}.{name}".lstrip(".")
        child = content.get(name, Value({}, new.where, path, override=True))
        new = _put(child, rest, new)
    return replace(parent, content={**content, name: new})
