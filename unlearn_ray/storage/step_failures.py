"""`Failure`: why the code of a step cannot run, kept so that nobody runs it again for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.objects import ObjectStore, read_present

_FOLDER = "failures/"


@dataclass(frozen=True)
class Failure:
    """A step whose own code ended it.

    Attributes:
        kind, key: what step.
        step: its name for people.
        sweep: that ran it.
        reason: in one line, with the remedy.
        traceback: where; "" where the reason says all.
        created: when, ISO 8601 in UTC.
        host: where it ran.
        versions: of the packages that it ran on.
    """

    kind: str
    key: str
    step: str
    sweep: str
    reason: str
    traceback: str
    created: str
    host: str
    versions: dict[str, str]


_ADAPTER = TypeAdapter(Failure)


def failure_name(kind: str, key: str) -> str:
    """The object that holds it."""
    return f"{_FOLDER}{kind}/{key}.json"


class Failures:
    """The failures of a store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def write(self, failure: Failure) -> None:
        """Keep one; a newer one of the same step takes its place."""
        data = json.dumps(asdict(failure), indent=1).encode()
        self._objects.write(failure_name(failure.kind, failure.key), data)

    def read(self, steps: Iterable[tuple[str, str]]) -> dict[str, Failure]:
        """Those of these steps (kind, key), by key; one request, and one for each that failed.

        Raises:
            CorruptObject: one cannot be parsed.
        """
        wanted = {failure_name(kind, key) for kind, key in steps}
        there = wanted & set(self._objects.names(_FOLDER)) if wanted else ()
        found = read_present(self._objects, sorted(there))
        return {failure.key: failure for failure in map(_parsed, found, found.values())}

    def forget(self, steps: Iterable[tuple[str, str]]) -> None:
        """Let these steps be run again."""
        for kind, key in steps:
            self._objects.delete(failure_name(kind, key))


def _parsed(name: str, data: bytes) -> Failure:
    try:
        failure: Failure = _ADAPTER.validate_python(json.loads(data))
    except (ValueError, ValidationError, RecursionError) as error:
        reason = f"no failure of a step: {type(error).__name__}"
        remedy = "delete that object: the step is run again"
        raise CorruptObject(f"object {name}", reason, remedy) from error
    if failure_name(failure.kind, failure.key) != name:
        raise CorruptObject(f"object {name}", "it is of another step", "delete that object")
    return failure
