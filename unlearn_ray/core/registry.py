"""Parts that a sweep file can name, found by looking into their folder.

A part is a schema that derives from one of the contracts (`Method`, `Family`, ...). The
contract says its `kind` and the `room` (package) whose modules declare such parts; a new file
in that folder is a new part, with no other edit.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, TypeVar, final

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.code import part_digest
from unlearn_ray.core.errors import ConfigError, UnlearnRayError, did_you_mean
from unlearn_ray.core.schema import field_values

# Of a part, by name.
Fields = Mapping[str, Any]

_REGISTERED: dict[str, dict[str, type[Part]]] = {}


class Part:
    """Base of every contract: what has a kind, a name and fields.

    Class attributes:
        kind, room: of the contract.
        name: what sweep files call it.
        revision: to be raised when the numbers change that a part gives for the same fields;
            what the store holds of the earlier revision then no longer counts.
        code: digest of the source of a part from outside this package, taken when it is
            registered, so that an edit counts without a new revision. It covers the module, what
            that imports beside itself (`core.code.part_digest`) and the modules of base classes.
            Empty for a part of this package: there a test asks for the revision.
        tiny: fields of a version that the conformance suite builds or trains in a moment.
    """

    kind: ClassVar[str]
    room: ClassVar[str]
    name: ClassVar[str]
    revision: ClassVar[int] = 1
    code: ClassVar[str] = ""
    tiny: ClassVar[Fields] = {}

    def identity(self) -> dict[str, Any]:
        """What of this part's fields enters a step's key: its name and every field.

        A part whose fields say *where* something lies (a folder, a file) overrides this with
        what lies there, so that no path ever enters a key.
        """
        return {"name": self.name, **field_values(self)}

    def read_content(self) -> dict[str, Any]:
        """What a part from outside this package reads, where neither fields nor code say it."""
        return {}

    @final
    @classmethod
    def code_identity(cls) -> dict[str, Any]:
        """What is known of the part without its fields: name, revision and, if any, code."""
        code = {"code": cls.code} if cls.code else {}
        return {"name": cls.name, "revision": cls.revision, **code}

    @final
    def content(self) -> dict[str, Any]:
        """What names this part in a key: identity, revision, code and what it reads."""
        read = self.read_content() if self.code else {}
        return {**self.identity(), **self.code_identity(), **read}


P = TypeVar("P", bound=Part)


def register(name: str) -> Callable[[type[P]], type[P]]:
    """Class decorator: let sweep files name this part `name`.

    Raises:
        ConfigError: when it decorates, a class whose source cannot be read, or with a field that
            has a name that the identity of every part may use.
    """

    def enter(cls: type[P]) -> type[P]:
        known = _REGISTERED.setdefault(cls.kind, {})
        if known.get(name, cls).__qualname__ != cls.__qualname__:
            raise ValueError(f"two {cls.kind} parts are registered as {name!r}")
        _check_fields(cls)
        cls.name = name
        cls.code = part_digest(cls, Part)
        known[name] = cls
        return cls

    return enter


def _check_fields(cls: type[Part]) -> None:
    own: set[str] = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    reserved = {"kind", "room", "name", "revision", "code"}
    if cls.kind == "dataset":
        reserved.add("data")  # what was loaded
    for taken in sorted(own & reserved):
        raise ConfigError(
            f"field {taken} of {cls.__qualname__}",
            "what names a part in keys may use this name itself",
            f"call the field something else, or write {taken}: ClassVar[...]",
        )


def parts(contract: type[P]) -> dict[str, type[P]]:
    """Every registered part of a contract by name, sorted; imports the contract's room.

    Raises:
        ConfigError: a file in it cannot be imported.
    """
    room = importlib.import_module(contract.room)
    for module in pkgutil.iter_modules(room.__path__):
        _import(f"{contract.room}.{module.name}")
    known = _REGISTERED.get(contract.kind, {})
    return {name: known[name] for name in sorted(known)}  # type: ignore[misc]


def _import(name: str) -> None:
    """Import a module, which may be a person's own file."""
    try:
        importlib.import_module(name)
    except UnlearnRayError:
        raise
    except Exception as error:
        spec = importlib.util.find_spec(name)
        where = name if spec is None else spec.origin
        reason = f"cannot be imported: {reason_of(error)}"
        remedy = "mend that file, install what it needs, or remove it"
        raise ConfigError(f"{where}", reason, remedy) from error


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
