"""Parts that a sweep file can name, found by looking into their folder.

A part is a schema that derives from one of the contracts (`Method`, `Family`, ...). The
contract says its `kind` and the `room` (package) whose modules declare such parts; a new file
in that folder is a new part, with no other edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.schema import field_values

_REGISTERED: dict[str, dict[str, type[Part]]] = {}


class Part:
    """Base of every contract: what has a kind, a name and fields."""

    kind: ClassVar[str]
    room: ClassVar[str]
    name: ClassVar[str]

    def identity(self) -> dict[str, Any]:
        """What of this part enters a step's key: its name and every field.

        A part whose fields say *where* something lies (a folder, a file) overrides this with
        what lies there, so that no path ever enters a key.
        """
        return {"name": self.name, **field_values(self)}


P = TypeVar("P", bound=Part)


def register(name: str) -> Callable[[type[P]], type[P]]:
    """Class decorator: let sweep files name this part `name`."""

    def enter(cls: type[P]) -> type[P]:
        known = _REGISTERED.setdefault(cls.kind, {})
        if known.get(name, cls).__qualname__ != cls.__qualname__:
            raise ValueError(f"two {cls.kind} parts are registered as {name!r}")
        cls.name = name
        known[name] = cls
        return cls

    return enter


def parts(contract: type[P]) -> dict[str, type[P]]:
    """Every registered part of a contract by name, sorted; imports the contract's room."""
    room = importlib.import_module(contract.room)
    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{contract.room}.{module.name}")
    known = _REGISTERED.get(contract.kind, {})
    return {name: known[name] for name in sorted(known)}  # type: ignore[misc]


def find(contract: type[P], name: str) -> type[P]:
    """The part of this contract called `name`.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    known = parts(contract)
    if name not in known:
        what = contract.kind.replace("_", " ")
        raise ConfigError(f"{name!r}", f"unknown {what}", did_you_mean(name, known))
    return known[name]


def summary(part: type[Part]) -> str:
    """The first line of a part's docstring, or of its module's."""
    doc = (part.__doc__ or "").strip() or (importlib.import_module(part.__module__).__doc__ or "")
    return doc.strip().splitlines()[0] if doc.strip() else ""
