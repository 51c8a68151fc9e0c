"""Files that a person names outside of the store: on this machine, or in a bucket."""

from __future__ import annotations

from unlearn_ray.core.errors import DataError, MissingObject, shown
from unlearn_ray.core.text_files import regular_file
from unlearn_ray.storage.urls import objects_at

_REMEDY = "give a file that every worker can read, or s3://bucket/key"


def read_outside(path: str) -> bytes:
    """The bytes of a file, or of an object at s3://bucket/key[?endpoint=URL&region=NAME].

    Raises:
        DataError: it is missing or cannot be read.
        ConfigError: the URL is invalid.
        StoreError: the server cannot be reached, or refuses.
    """
    if "://" in path:
        return _object(path)
    try:
        return regular_file(path, "checkpoint", _REMEDY).read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(f"checkpoint = {shown(path, 200)}", reason, _REMEDY) from error


def _object(url: str) -> bytes:
    place, mark, options = url.partition("?")
    folder, _, name = place.rpartition("/")
    if folder.endswith(("/", ":")):
        folder, name = place, ""
    objects = objects_at(f"{folder}{mark}{options}")
    try:
        if name:
            return objects.read(name)
    except MissingObject as error:
        reason = "there is no such object"
        raise DataError(f"checkpoint = {shown(url, 200)}", reason, _REMEDY) from error
    raise DataError(f"checkpoint = {shown(url, 200)}", "names no object", _REMEDY)
