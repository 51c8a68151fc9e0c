"""`Failure`: why a step's code failed, kept so that the step is not retried in vain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict

from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.stored import Reader, Schema, Time, Word, stored

_FOLDER = "failures/"
_NAME = re.compile(rf"{_FOLDER}(?P<kind>[^/]+)/(?P<key>[0-9a-f]{{16}})\.json")


@stored
class Failure:
    """A step whose own code raised an error.

    Attributes:
        kind, key: the step.
        step: its name, in words.
        sweep: the sweep that ran it.
        reason: in one line, with the remedy.
        traceback: of the error; "" if the reason is enough.
        created: when, ISO 8601 in UTC.
        host: where it ran.
        versions: those of the packages it ran with.
    """

    kind: Word
    key: Word
    step: str
    sweep: str
    reason: str
    traceback: str
    created: Time
    host: str
    versions: dict[str, str]


_SCHEMA: Schema[Failure] = Schema(
    Failure, "failure of a step", "delete that object: the step is then run again"
)


def failure_name(kind: str, key: str) -> str:
    """The name of the object that holds it."""
    return f"{_FOLDER}{kind}/{key}.json"


class Failures:
    """The failures of a store."""

    def __init__(self, objects: ObjectStore, reader: Reader) -> None:
        self._objects = objects
        self._reader = reader

    def write(self, failure: Failure) -> None:
        """Store one, replacing an earlier one of the same step."""
        data = json.dumps(asdict(failure), indent=1).encode()
        self._objects.write(failure_name(failure.kind, failure.key), data)

    def read(self, steps: Iterable[tuple[str, str]]) -> dict[str, Failure]:
        """The failures of steps (kind, key), by key; one request, and one for each that failed.

        A damaged one is logged, and counts as none.
        """
        wanted = {failure_name(kind, key) for kind, key in steps}
        there = wanted & set(self._objects.names(_FOLDER)) if wanted else ()
        found = self._reader.parsed(sorted(there), _parsed)
        return {failure.key: failure for failure in found.values()}

    def kinds(self) -> dict[str, str]:
        """The kind of each step that failed, by key."""
        matches = map(_NAME.fullmatch, self._objects.names(_FOLDER))
        return {match["key"]: match["kind"] for match in matches if match is not None}

    def forget(self, steps: Iterable[tuple[str, str]]) -> None:
        """Allow these steps to be run again."""
        for kind, key in steps:
            self._objects.delete(failure_name(kind, key))


def _parsed(name: str, data: bytes) -> Failure:
    failure = _SCHEMA.parse(name, data)
    if failure_name(failure.kind, failure.key) != name:
        raise _SCHEMA.corrupt(name, "it belongs to another step")
    return failure
