"""Reading JSON from a store: one strict schema for each kind of object.

Other programs may write to a store as well: a sync tool, a person, an older version; a disk may
fail. Every object is validated when it is read. An invalid one is reported by name, with reason and
remedy; reading many objects continues with the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

import pydantic_core
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from unlearn_ray.core.errors import CorruptObject, MissingObject, StoreDenied, StoreError
from unlearn_ray.storage.objects import THREADS, ObjectStore

# The largest size of objects other than artifacts and tables; this package writes none larger.
MOST_BYTES = 64 << 20
_MOST_TOLD = 5
_LONGEST = 300

_log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("time without a time zone")
    return text


# A valid part of an object's name.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=255)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
# ISO 8601 with a time zone.
Time = Annotated[str, AfterValidator(_time)]


@dataclass_transform(frozen_default=True)
def stored(cls: type[Parsed]) -> type[Parsed]:
    """Make `cls` a frozen dataclass that a `Schema` reads without extra fields or coercion."""
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    cls.__pydantic_config__ = config  # type: ignore[attr-defined]
    return dataclass(frozen=True)(cls)


class Schema(Generic[Parsed]):
    """The schema of one kind of object.

    Args:
        type_: made by `stored`, like those that are nested in it.
        what: what an object of the kind is called.
        remedy: what to do about a damaged one.
    """

    def __init__(self, type_: Any, what: str, remedy: str) -> None:
        self._adapter: TypeAdapter[Parsed] = TypeAdapter(type_)
        self._what = what
        self._remedy = remedy

    def parse(self, name: str, data: bytes) -> Parsed:
        """The parsed content of the object `name`.

        Raises:
            CorruptObject: it is not a valid object of this kind.
        """
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise self.corrupt(name, _first_of(error)) from None

    def corrupt(self, name: str, reason: str) -> CorruptObject:
        """The error for an object that is not a valid one of this kind."""
        return CorruptObject(f"object {name}", f"not a valid {self._what}: {reason}", self._remedy)


def _first_of(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False, include_input=False)
    where = ".".join(map(str, first["loc"]))
    text = f"{where}: {first['msg']}" if where else first["msg"]
    more = f" (and {len(others)} more)" if others else ""
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...") + more


def json_value(text: str | bytes) -> Any:
    """Parse JSON from a store, whatever its depth and length.

    Raises:
        ValueError: it is not JSON, or exceeds the limits, for example 200 levels of nesting.
    """
    return pydantic_core.from_json(text)


class Reader:
    """Reads many objects, and logs once for each invalid one what is wrong with it."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._told: set[str] = set()

    def parsed(
        self, names: Iterable[str], parse: Callable[[str, bytes], Parsed]
    ) -> dict[str, Parsed]:
        """The parsed content of existing, valid objects, by name; read concurrently.

        Args:
            names: of the objects.
            parse: parses a name and bytes; raises CorruptObject.

        Raises:
            StoreDenied: none of them may be read.
        """
        return self.sorted_out(names, parse)[0]

    def sorted_out(
        self,
        names: Iterable[str],
        parse: Callable[[str, bytes], Parsed],
        most: int | None = MOST_BYTES,
    ) -> tuple[dict[str, Parsed], set[str]]:
        """The same, and the names of existing, invalid objects.

        Args:
            names: of the objects.
            parse: as above.
            most: the largest accepted size in bytes; None is unlimited.
        """
        return self._read(names, lambda name: parse(name, self._objects.read(name, most)))

    def present(self, names: Iterable[str]) -> dict[str, bytes]:
        """The existing, readable objects of any size, as bytes."""
        return self._read(names, self._objects.read)[0]

    def note(self, errors: Iterable[StoreError]) -> None:
        """Log what is wrong with objects, once each."""
        new = [text for text in map(str, errors) if text not in self._told]
        self._told.update(new)
        for text in new[:_MOST_TOLD]:
            _log.warning("%s", text)
        if len(new) > _MOST_TOLD:
            _log.warning("%d more objects are damaged", len(new) - _MOST_TOLD)

    def _read(
        self, names: Iterable[str], read: Callable[[str], Parsed]
    ) -> tuple[dict[str, Parsed], set[str]]:
        def one(name: str) -> tuple[str, Parsed | StoreError]:
            try:
                return name, read(name)
            except (MissingObject, CorruptObject, StoreDenied) as error:
                return name, error

        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(pool.map(one, names))
        sound = {name: one for name, one in found.items() if not isinstance(one, StoreError)}
        wrong = {
            name: one
            for name, one in found.items()
            if isinstance(one, StoreError) and not isinstance(one, MissingObject)
        }
        if wrong and not sound and all(isinstance(one, StoreDenied) for one in wrong.values()):
            raise next(iter(wrong.values()))  # nothing in this store may be read
        self.note(wrong.values())
        return sound, set(wrong)
