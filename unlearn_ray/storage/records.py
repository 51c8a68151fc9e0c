"""`Record`: what proves a step complete, and `FileEntry`: what its artifact consists of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unlearn_ray.core.errors import CorruptObject


@dataclass(frozen=True)
class FileEntry:
    """One uploaded file: its object's name, its size in bytes, its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """A completed step.

    Attributes:
        kind, key: what step.
        config: what its key was made of.
        inputs: keys of the steps it stands on, by role.
        files: its artifact, by file name.
        result: small values, in JSON's own types.
        seconds: wall time of its workers, from their start to the uploaded artifact.
        created: when, ISO 8601 in UTC; of no consequence.
        versions: of the packages that computed it.
        host: where.
        sweep: that ran it.
        row: the row of that sweep that counts its accelerator hours; "" for a reference step.
        workers: that ran it, in the end.
        accelerators: of each worker: GPUs, or CPUs where it asks for none.
        earlier_seconds: wall time of earlier attempts, which were stopped or killed.
    """

    kind: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, FileEntry]
    result: dict[str, Any]
    seconds: float
    created: str
    versions: dict[str, str]
    host: str
    sweep: str
    row: str
    workers: int
    accelerators: float
    earlier_seconds: float

    @property
    def accelerator_hours(self) -> float:
        """Wall hours of all attempts, times workers, times accelerators of each."""
        return (self.seconds + self.earlier_seconds) / 3600 * self.workers * self.accelerators


_ADAPTER = TypeAdapter(Record)


def record_name(kind: str, key: str) -> str:
    """The object that holds a record."""
    return f"records/{kind}/{key}.json"


def to_bytes(record: Record) -> bytes:
    """A record as JSON, for `from_bytes` and for people."""
    return json.dumps(asdict(record), indent=1, sort_keys=True).encode()


def from_bytes(kind: str, key: str, data: bytes) -> Record:
    """The record in `data`, which must be the one of this kind and key.

    Raises:
        CorruptObject: it is not.
    """
    try:
        record = _ADAPTER.validate_python(json.loads(data))
    except (ValueError, ValidationError) as error:
        raise _corrupt(kind, key, f"no record: {type(error).__name__}") from error
    if (record.kind, record.key) != (kind, key):
        raise _corrupt(kind, key, f"it is the record of {record.kind} {record.key}")
    return record


def _corrupt(kind: str, key: str, reason: str) -> CorruptObject:
    remedy = "delete that object and run again: the step is run anew"
    return CorruptObject(f"object {record_name(kind, key)}", reason, remedy)
