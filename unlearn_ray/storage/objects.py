"""`ObjectStore`: bytes under names, over a local folder or S3 alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unlearn_ray.core.errors import CorruptObject

# Concurrent requests of one listing.
THREADS = 16


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        name: of the object.
        size: in bytes.
        written: when, in Unix time by the store's own clock.
    """

    name: str
    size: int
    written: float


class ObjectStore(Protocol):
    """Bytes under relative names with forward slashes.

    Every write is atomic: a reader sees the old object or the new one, never a part, no matter
    which process is killed when. All methods raise StoreUnreachable, StoreDenied, StoreFull or
    another StoreError if the store fails. An instance may be pickled and shared between threads.
    """

    @property
    def url(self) -> str:
        """A URL that opens this store again, from any process and working directory."""

    def check_exists(self) -> None:
        """Check cheaply that there is a store to read.

        Raises:
            StoreUnreachable: there is no such folder or bucket.
        """

    def read(self, name: str, most: int | None = None) -> bytes:
        """The bytes of an object.

        Args:
            name: of the object.
            most: the largest size in bytes that is accepted.

        Raises:
            MissingObject: there is none of this name.
            CorruptObject: it is larger, or not a regular object.
        """

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an object."""

    def create(self, name: str, data: bytes) -> bool:
        """Create an object if absent: of concurrent callers, exactly one gets True."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove objects, if they are there, in as few requests as the store allows."""

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix` (any text, not only a folder), sorted.

        Names that no object can have, folder markers and hidden files, are left out.
        """

    def entries(self, prefix: str) -> list[Entry]:
        """Like `names`, with sizes and times."""

    def remove_unfinished(self, age: float, now: float) -> int:
        """Remove unfinished writes of killed processes that are older than `age` seconds.

        Args:
            age: in seconds.
            now: the time by the store's own clock, as in `Entry.written`.

        Returns:
            How many bytes; 0 if the store does not report it.
        """

    def upload(self, name: str, path: Path) -> None:
        """Create or replace an object with a file's content, streamed."""

    def download(self, name: str, path: Path) -> None:
        """Stream an object into a file, which appears (or is replaced) only when complete.

        Raises:
            MissingObject: there is none of this name.
        """


def is_name(name: str) -> bool:
    """Whether it is a valid object name: a relative path without empty or hidden parts."""
    return all(part and not part.startswith(".") and "\0" not in part for part in name.split("/"))


def check_name(name: str) -> None:
    """Refuse names that are not relative paths, which would lead out of a local folder.

    Raises:
        CorruptObject: `name` is not a valid object name; a damaged object contains it.
    """
    if not is_name(name):
        raise CorruptObject(
            f"object {name[:200]!r}",
            "not a valid object name: it has an empty part, or one with a leading dot",
            "something in the store is damaged: delete what names it",
        )


def key_of(name: str, prefix: str) -> str:
    """The key in a bucket or container of an object under a prefix; "" is the prefix itself.

    Raises:
        CorruptObject: see `check_name`.
    """
    if name:
        check_name(name)
    return f"{prefix}/{name}" if prefix else name


def subject_of(name: str, url: str) -> str:
    """An object of the store at `url`, or for "" the store, in words."""
    return f"object {name} of {url}" if name else f"store {url}"


def too_large(subject: str, size: int) -> CorruptObject:
    """The error that an object has more bytes than its kind may have."""
    return CorruptObject(
        subject,
        f"{size} bytes exceed the limit for such an object",
        "delete it there, or move it away",
    )
