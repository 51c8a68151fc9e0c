"""What each method can unlearn, and the paper it comes from, read from the methods."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method

# One of each kind of forget set, by the letter that stands for it.
FORGET_KINDS: dict[str, ForgetSet] = {"c": Classes(classes=(0,)), "s": Random()}
LEGEND = "c: whole classes, s: samples"
NEITHER = "-"


def abilities(method: type[Method]) -> dict[str, str]:
    """The kinds of forget sets that a method unlearns, by family: "c s", "c", "s" or "-"."""
    return {
        name: " ".join(
            letter
            for letter, forget_set in FORGET_KINDS.items()
            if method.unsupported(family(), forget_set) is None
        )
        or NEITHER
        for name, family in parts(Family).items()
    }


def matrix() -> Iterator[list[str]]:
    """A header and a row for each method: its name, its abilities by family, its paper."""
    yield ["method", *parts(Family), "paper"]
    for name, method in parts(Method).items():
        yield [name, *abilities(method).values(), paper(method)]


def paper(method: type[Method]) -> str:
    """The second sentence of a method's module docstring, which names the paper."""
    text = inspect.cleandoc(importlib.import_module(method.__module__).__doc__ or "")
    _, _, rest = text.partition("\n\n")
    (first, *_) = re.split(r"(?<!\bal)\.(?=\s|$)", " ".join(rest.split("\n\n")[0].split()))
    return first
