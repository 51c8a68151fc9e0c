"""`Record`: what proves a step complete, and `FileEntry`: what its artifact consists of."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from unlearn_ray.storage.objects import is_name
from unlearn_ray.storage.stored import Count, Schema, Seconds, Time, Word, stored

_FOLDER = "records"
Value = TypeVar("Value")
_NAME = re.compile(rf"{_FOLDER}/([^/]+)/([0-9a-f]{{16}})\.json")


@stored
class FileEntry:
    """One file of an artifact.

    Attributes:
        name: of its object; that of its record if the record holds it.
        size: in bytes.
        sha256: in hex.
        data: its content in Base64 if the record holds it.
    """

    name: str
    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data: str | None = None


@stored
class Along:
    """A step that ran right after another one, under its lease, and shares its record.

    Attributes:
        kind, key, config, inputs, files, result, seconds: as in `Record`; large files are among
            the other step's uploads.
    """

    kind: Word
    key: Word
    config: dict[str, Any]
    inputs: dict[str, Word]
    files: dict[str, FileEntry]
    result: dict[str, Any]
    seconds: Seconds


@stored
class Record:
    """A completed step.

    Attributes:
        kind, key: the step.
        config: what its key hashes.
        inputs: keys of its input steps, by role.
        files: its artifact, by file name.
        result: small values, in JSON's own types.
        seconds: wall time of its workers, from their start to the uploaded artifact.
        created: when, ISO 8601 in UTC; informational.
        versions: those of the packages that computed it.
        host: where it ran.
        sweep: the sweep that ran it.
        row: the row of that sweep that its accelerator hours are charged to; "" for a
            reference step.
        workers: how many ran it in the end.
        accelerators: per worker: GPUs, or CPUs if it requests no GPU.
        earlier_seconds: wall time of earlier attempts that were stopped or killed.
        along: the steps that share this record.
    """

    kind: Word
    key: Word
    config: dict[str, Any]
    inputs: dict[str, Word]
    files: dict[str, FileEntry]
    result: dict[str, Any]
    seconds: Seconds
    created: Time
    versions: dict[str, str]
    host: str
    sweep: str
    row: str
    workers: Count
    accelerators: Seconds
    earlier_seconds: Seconds
    along: tuple[Along, ...] = ()

    @property
    def sharing(self) -> list[Record]:
        """The records of the steps that share this one."""
        return [replace(self, **vars(one), earlier_seconds=0.0, along=()) for one in self.along]

    @property
    def uploads(self) -> list[FileEntry]:
        """The files that are objects of their own, those of the steps that share it included."""
        entries = [
            *self.files.values(),
            *(each for one in self.along for each in one.files.values()),
        ]
        return [entry for entry in entries if entry.data is None]

    @property
    def accelerator_hours(self) -> float:
        """Wall hours of all attempts, times workers, times accelerators per worker."""
        return (self.seconds + self.earlier_seconds) / 3600 * self.workers * self.accelerators

    def value(self, name: str, kind: type[Value]) -> Value:
        """One value of its result.

        Raises:
            CorruptObject: there is none, or it is not a `kind`.
        """
        where = record_name(self.kind, self.key)
        if name not in self.result:
            raise _SCHEMA.corrupt(where, f"result.{name}: there is none")
        try:
            return TypeAdapter(kind).validate_python(self.result[name], strict=True)
        except ValidationError:
            raise _SCHEMA.corrupt(where, f"result.{name}: it is not a {kind}") from None


_SCHEMA: Schema[Record] = Schema(
    Record, "record", "delete that object and run again: the step is run again"
)


def record_name(kind: str, key: str) -> str:
    """The name of the object that holds a record."""
    return f"{_FOLDER}/{kind}/{key}.json"


def key_in(name: str) -> str | None:
    """The key of the record with this object name; None for other names.

    >>> key_in("records/pretrain/0123456789abcdef.json")
    '0123456789abcdef'
    >>> key_in("records/pretrain/0123456789abcdef (1).json")
    """
    step = step_in(name)
    return None if step is None else step[1]


def step_in(name: str) -> tuple[str, str] | None:
    """Kind and key of the record with this object name; None for other names."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], match[2])


def artifact_folder(kind: str, key: str) -> str:
    """The folder of a step's uploads, each in a folder of its own."""
    return f"artifacts/{kind}/{key}/"


def to_bytes(record: Record) -> bytes:
    """A record as JSON, for `from_bytes` and for people."""
    return json.dumps(asdict(record), indent=1, sort_keys=True).encode()


def from_bytes(kind: str, key: str, data: bytes) -> Record:
    """The record in `data`, which must be the one of this kind and key.

    Raises:
        CorruptObject: it is not.
    """
    name = record_name(kind, key)
    record = _SCHEMA.parse(name, data)
    if (record.kind, record.key) != (kind, key):
        raise _SCHEMA.corrupt(name, f"it belongs to {record.kind} {record.key}")
    for entry in record.uploads:
        if not is_name(entry.name) or not entry.name.startswith(artifact_folder(kind, key)):
            raise _SCHEMA.corrupt(name, f"{entry.name[:200]!r} is not a file of this step")
    return record
