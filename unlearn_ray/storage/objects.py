"""`ObjectStore`: bytes under names, over a local folder or S3 alike."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from unlearn_ray.core.errors import MissingObject

THREADS = 16


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

    def read(self, name: str) -> bytes:
        """The bytes of an object.

        Raises:
            MissingObject: there is none of this name.
        """

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an object."""

    def create(self, name: str, data: bytes) -> bool:
        """Create an object unless there is one: of many at once, exactly one gets True."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix` (any text, not only a folder), sorted."""

    def upload(self, name: str, path: Path) -> None:
        """Create or replace an object with a file's content, streamed."""

    def download(self, name: str, path: Path) -> None:
        """Stream an object into a file, which appears (or is replaced) only when complete.

        Raises:
            MissingObject: there is none of this name.
        """


def read_present(objects: ObjectStore, names: Iterable[str]) -> dict[str, bytes]:
    """The bytes of those objects that are still there, by name; many are read at a time."""

    def read(name: str) -> tuple[str, bytes | None]:
        try:
            return name, objects.read(name)
        except MissingObject:
            return name, None

    with ThreadPoolExecutor(THREADS) as pool:
        return {name: data for name, data in pool.map(read, names) if data is not None}


def check_name(name: str) -> None:
    """Refuse names that are no relative path, which would lie elsewhere in a local folder.

    Raises:
        ValueError: `name` is absolute, has an empty part, or a part that starts with a dot.
    """
    if any(not part or part.startswith(".") for part in name.split("/")):
        raise ValueError(f"{name!r} is no object name: an empty part, or one with a leading dot")
