"""Checkpoints: what a step needs to resume after its process died."""

from __future__ import annotations

import hashlib
import logging
import re

from unlearn_ray.core.errors import CorruptObject, MissingObject
from unlearn_ray.storage.objects import ObjectStore

_log = logging.getLogger(__name__)
FOLDER = "checkpoints/"
_NAME = re.compile(r"([0-9]{9,18})-([0-9a-f]{16})\.safetensors")


def save(objects: ObjectStore, key: str, iteration: int, data: bytes) -> None:
    """Write the checkpoint of `iteration`, then remove every other one of `key`."""
    name = f"{_folder(key)}{iteration:09d}-{_digest(data)}.safetensors"
    objects.write(name, data)
    for _, other, _ in _present(objects, key):
        if other != name:
            objects.delete(other)


def latest(objects: ObjectStore, key: str) -> tuple[int, bytes] | None:
    """Iteration and bytes of the newest intact checkpoint.

    Raises:
        CorruptObject: there are checkpoints, but none is intact.
    """
    damaged = ""
    for iteration, name, digest in reversed(_present(objects, key)):
        try:
            data = objects.read(name)
        except MissingObject:
            continue  # its writer has a newer one by now
        except CorruptObject:
            data = b""  # not a regular file, for example
        if _digest(data) == digest:
            return iteration, data
        damaged = damaged or name
        _log.warning("checkpoint %s is damaged; looking for an older one", name)
    if damaged:
        raise CorruptObject(
            f"checkpoint {damaged}",
            "its content was altered, and there is no older one",
            "delete it and run again: the step starts from scratch",
        )
    return None


def clear(objects: ObjectStore, key: str) -> None:
    """Remove all checkpoints of `key`."""
    for _, name, _ in _present(objects, key):
        objects.delete(name)


def key_in(name: str) -> str | None:
    """The key of the step whose checkpoint has this name; None for other names."""
    key, _, file = name.removeprefix(FOLDER).rpartition("/")
    return key if _NAME.fullmatch(file) else None


def _folder(key: str) -> str:
    return f"{FOLDER}{key}/"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _present(objects: ObjectStore, key: str) -> list[tuple[int, str, str]]:
    """(iteration, name, digest), oldest first."""
    names = objects.names(_folder(key))
    matches = ((name, _NAME.fullmatch(name.removeprefix(_folder(key)))) for name in names)
    return sorted((int(match[1]), name, match[2]) for name, match in matches if match)
