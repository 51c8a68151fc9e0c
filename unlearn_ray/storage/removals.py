"""`Removal`: says that the artifact of a completed step was removed on purpose.

It is written before the first file is deleted, and withdrawn only when the step has been run again
or before anything was deleted. So a file that a record names and that is not there was removed on
purpose if there is a removal, and is damage otherwise; the record and all numbers stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime

from unlearn_ray.core.errors import MissingObject
from unlearn_ray.storage.objects import THREADS, ObjectStore
from unlearn_ray.storage.stored import MOST_BYTES, Schema, Time, Word, stored

FOLDER = "removed/"


@stored
class Removal:
    """The removal of a step's artifact.

    Attributes:
        kind, key: the step.
        why: what removed it, in words.
        created: when, ISO 8601 in UTC.
    """

    kind: Word
    key: Word
    why: str
    created: Time


_SCHEMA: Schema[Removal] = Schema(
    Removal, "removal of an artifact", "delete that object if the artifact is still there"
)


class Removals:
    """The removals of a store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def announce(self, steps: Iterable[tuple[str, str]], why: str) -> None:
        """Say that the artifacts of steps (kind, key) are about to be removed."""
        created = datetime.now(UTC).isoformat(timespec="seconds")

        def one(step: tuple[str, str]) -> None:
            removal = Removal(*step, why, created)
            self._objects.create(removal_name(*step), json.dumps(asdict(removal)).encode())

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, steps))

    def withdraw(self, steps: Iterable[tuple[str, str]]) -> None:
        """Say that the artifacts of steps are there, or that nothing is left of the steps."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._objects.delete, [removal_name(*step) for step in steps]))

    def of(self, kind: str, key: str) -> Removal | None:
        """The removal of a step's artifact; None if it was not removed.

        Raises:
            CorruptObject: it is damaged.
        """
        name = removal_name(kind, key)
        try:
            return _SCHEMA.parse(name, self._objects.read(name, MOST_BYTES))
        except MissingObject:
            return None

    def steps(self) -> set[tuple[str, str]]:
        """The steps (kind, key) that have one."""
        names = (name.removeprefix(FOLDER).partition("/") for name in self._objects.names(FOLDER))
        return {(kind, file.removesuffix(".json")) for kind, _, file in names}


def removal_name(kind: str, key: str) -> str:
    """The name of the object that holds a removal."""
    return f"{FOLDER}{kind}/{key}.json"
