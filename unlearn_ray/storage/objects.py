"""`ObjectStore`: bytes under names, over a local folder or S3 alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unlearn_ray.core.errors import CorruptObject

# Requests of one listing at a time.
THREADS = 16


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        name: of the object.
        size: in bytes.
        written: when, in seconds since 1970 by the store's own clock.
    """

    name: str
    size: int
    written: float


class ObjectStore(Protocol):
    """Bytes under relative names with forward slashes.

    Every write is atomic: a reader sees the old object or the new one, never a part, whoever
    is killed when. All raise StoreUnreachable, StoreDenied, StoreFull or another StoreError
    for what the store could not do. An instance may be pickled and shared between threads.
    """

    @property
    def url(self) -> str:
        """What opens this store again, from any process and working directory."""

    def check_exists(self) -> None:
        """Cheap look whether there is a store to read.

        Raises:
            StoreUnreachable: there is no such folder or bucket.
        """

    def read(self, name: str, most: int | None = None) -> bytes:
        """The bytes of an object.

        Args:
            name: of the object.
            most: bytes that it may have.

        Raises:
            MissingObject: there is none of this name.
            CorruptObject: it is larger, or what bears its name is no object.
        """

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an object."""

    def create(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one: of many at once, exactly one gets True."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix` (any text, not only a folder), sorted.

        What can be no object's name is left out: folder markers, hidden files.
        """

    def entries(self, prefix: str) -> list[Entry]:
        """The same, with sizes and times."""

    def remove_unfinished(self, age: float) -> int:
        """Remove what killed writers left that is no object yet, and so old in seconds.

        Returns:
            How many bytes; 0 where the store does not say.
        """

    def upload(self, name: str, path: Path) -> None:
        """Create or replace an object with a file's content, streamed."""

    def download(self, name: str, path: Path) -> None:
        """Stream an object into a file, which appears (or is replaced) only when complete.

        Raises:
            MissingObject: there is none of this name.
        """


def is_name(name: str) -> bool:
    """Whether objects can be called so: a relative path without empty and hidden parts."""
    return all(part and not part.startswith(".") and "\0" not in part for part in name.split("/"))


def check_name(name: str) -> None:
    """Refuse names that are no relative path, which would lie elsewhere in a local folder.

    Raises:
        CorruptObject: objects cannot be called `name`: something in the store says so.
    """
    if not is_name(name):
        raise CorruptObject(
            f"object {name[:200]!r}",
            "no object can be called so: an empty part, or one with a leading dot",
            "something in the store is damaged: delete what names it",
        )
