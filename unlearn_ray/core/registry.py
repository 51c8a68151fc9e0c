"""Parts that a sweep file can name, discovered in their folders.

A part is a schema that derives from one of the contracts (`Method`, `Family`, ...). The
contract states its `kind` and its `room`, the package whose modules declare such parts; a new
file in that folder is a new part, with no other edit.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, TypeVar, final
from weakref import WeakKeyDictionary

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.code import part_digest
from unlearn_ray.core.errors import (
    ConfigError,
    UnlearnRayError,
    did_you_mean,
    shown,
    shown_path,
)
from unlearn_ray.core.schema import field_values

# Of a part, by name.
Fields = Mapping[str, Any]

_REGISTERED: dict[str, dict[str, type[Part]]] = {}
# Of parts from outside this package: what they were loaded from.
_ORIGINS: WeakKeyDictionary[type[Part], str] = WeakKeyDictionary()
_loading: list[str] = []


class NameTaken(ConfigError):
    """Two parts of one kind have one name."""


class Part:
    """Base of every contract: a kind, a name and fields.

    Class attributes:
        kind, room: of the contract.
        name: its name in sweep files.
        revision: raise it when the part gives other numbers for the same fields; results of
            earlier revisions in the store then no longer count.
        code: digest of the source of a part from outside this package, taken when it is
            registered, so that an edit counts without a new revision. It covers the module, its
            sibling imports (`core.code.part_digest`) and the modules of base classes. Empty for
            a part of this package, where a test asks for a new revision.
        unshown: fields that rows and tables do not show, as they name people.
        tiny: field values of a version that the conformance suite can build or train quickly.
    """

    kind: ClassVar[str]
    room: ClassVar[str]
    name: ClassVar[str]
    revision: ClassVar[int] = 1
    code: ClassVar[str] = ""
    unshown: ClassVar[frozenset[str]] = frozenset()
    tiny: ClassVar[Fields] = {}

    def identity(self) -> dict[str, Any]:
        """The fields' contribution to a step's key: the part's name and every field.

        A part with fields that are paths overrides this with the content found there, so that
        no path ever enters a key.
        """
        return {"name": self.name, **field_values(self)}

    def read_content(self) -> dict[str, Any]:
        """Data that a part from outside this package reads, if fields and code do not imply it."""
        return {}

    @final
    @classmethod
    def code_identity(cls) -> dict[str, Any]:
        """The part's identity without its fields: name, revision and code, if any."""
        code = {"code": cls.code} if cls.code else {}
        return {"name": cls.name, "revision": cls.revision, **code}

    @final
    def content(self) -> dict[str, Any]:
        """Everything that enters a key: identity, revision, code and the data that it reads."""
        read = self.read_content() if self.code else {}
        return {**self.identity(), **self.code_identity(), **read}


P = TypeVar("P", bound=Part)


def register(name: str) -> Callable[[type[P]], type[P]]:
    """Class decorator: let sweep files name this part `name`.

    Raises:
        ConfigError: when applied to a class whose source cannot be read, or that has a field
            with a reserved name.
    """

    def enter_class(cls: type[P]) -> type[P]:
        known = _REGISTERED.setdefault(cls.kind, {})
        _ORIGINS[cls] = _loading[-1] if _loading else ""
        _check_alone(cls, known.get(name, cls), name)
        _check_fields(cls)
        cls.name = name
        cls.code = part_digest(cls, Part)
        known[name] = cls
        return cls

    return enter_class


def _check_alone(cls: type[Part], other: type[Part], name: str) -> None:
    """Refuse a second part of a name; a class that is defined again replaces itself."""
    again = cls.__qualname__ == other.__qualname__ and (
        cls.__module__ == other.__module__ or _file(cls) == _file(other)
    )
    if not again:
        raise NameTaken(
            f"{cls.kind.replace('_', ' ')} {shown(name)}",
            f"two parts have this name: {_described(other)}, and {_described(cls)}",
            "give one of them another name",
        )


def _file(cls: type) -> str:
    return str(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)


def _described(cls: type[Part]) -> str:
    return f"{cls.__qualname__} of {origin(cls) or _file(cls)}"


def origin(part: type[Part]) -> str:
    """Where a part comes from: its plug-in, or its file; empty for a part of this package."""
    return _ORIGINS.get(part, "") or (shown_path(_file(part)) if part.code else "")


@contextmanager
def registering(what: str) -> Iterator[None]:
    """Parts that are registered meanwhile come from `what`."""
    _loading.append(what)
    try:
        yield
    finally:
        _loading.pop()


def registered() -> dict[tuple[str, str], type[Part]]:
    """What is registered now, by kind and name; imports nothing."""
    return {(kind, name): cls for kind, named in _REGISTERED.items() for name, cls in named.items()}


def enter(kind: str, name: str, cls: type[Part]) -> None:
    """Register a part again that was withdrawn.

    Raises:
        ConfigError: there is another part of that name.
    """
    known = _REGISTERED.setdefault(kind, {})
    _check_alone(cls, known.get(name, cls), name)
    known[name] = cls


def restore(before: Mapping[tuple[str, str], type[Part]]) -> None:
    """Let exactly these parts be registered, which were so before."""
    for key, cls in registered().items():
        if before.get(key) is not cls:
            withdraw(*key)
    for key, cls in before.items():
        enter(*key, cls)


def withdraw(kind: str, name: str) -> None:
    """Let nobody find a part any more."""
    _REGISTERED.get(kind, {}).pop(name, None)


def _check_fields(cls: type[Part]) -> None:
    own: set[str] = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    reserved = {"kind", "room", "name", "revision", "code"}
    if cls.kind == "dataset":
        reserved.add("data")  # what was loaded
    for taken in sorted(own & reserved):
        raise ConfigError(
            f"field {taken} of {cls.__qualname__}",
            "this name is reserved for keys",
            f"rename the field, or write {taken}: ClassVar[...]",
        )


def parts(contract: type[P]) -> dict[str, type[P]]:
    """Every registered part of a contract by name, sorted; imports the contract's room.

    The parts of installed distributions (`core.plugins`) are loaded the first time.

    Raises:
        ConfigError: a file in the room cannot be imported, or two parts have one name.
    """
    # That module registers parts.
    from unlearn_ray.core.plugins import load_waiting

    room = importlib.import_module(contract.room)
    for module in pkgutil.iter_modules(room.__path__):
        _import(f"{contract.room}.{module.name}")
    load_waiting()
    known = _REGISTERED.get(contract.kind, {})
    return {name: known[name] for name in sorted(known)}  # type: ignore[misc]


def _import(name: str) -> None:
    """Import a module, which may be the user's own file."""
    try:
        importlib.import_module(name)
    except UnlearnRayError:
        raise
    except Exception as error:
        spec = importlib.util.find_spec(name)
        where = name if spec is None else spec.origin
        reason = f"cannot be imported: {reason_of(error)}"
        remedy = "fix that file, install what it needs, or remove it"
        raise ConfigError(f"{where}", reason, remedy) from error


def find(contract: type[P], name: str) -> type[P]:
    """The part of this contract called `name`.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    known = parts(contract)
    if name not in known:
        what = contract.kind.replace("_", " ")
        raise ConfigError(f"{name!r}", f"unknown {what}{missing()}", did_you_mean(name, known))
    return known[name]


def missing() -> str:
    """What may be why a part is unknown: installed plug-ins that cannot be loaded."""
    from unlearn_ray.core.plugins import broken

    return "".join(f"; {error.subject} {error.reason}" for error in broken())


def summary(part: type[Part]) -> str:
    """The first line of a part's docstring, or of its module's."""
    doc = (part.__doc__ or "").strip() or (importlib.import_module(part.__module__).__doc__ or "")
    return doc.strip().splitlines()[0] if doc.strip() else ""
