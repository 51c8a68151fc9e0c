"""Captions in COCO's JSON format, and the images that they are of."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unlearn_ray.core.errors import DataError
from unlearn_ray.data.image_files import ImageFile

_LAYOUT = (
    'write {"images": [{"id": 1, "file_name": "a.jpg"}, ...], '
    '"annotations": [{"image_id": 1, "caption": "a cat"}, ...]}, as COCO does'
)


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """The captions of every image by its file name, sorted by that; each image's in file order.

    Raises:
        DataError: the file is missing or malformed, a caption is empty or of no image, an image
            is listed twice or has no caption.
    """
    content = _content(path)
    names: dict[Any, str] = {}
    for entry, image in _entries(path, content, "images"):
        number, name = _value(entry, image, "id", (int, str)), _value(entry, image, "file_name")
        if number in names:
            raise DataError(entry, f"the id {number} is given twice", "give every image its own")
        names[number] = name
    found: dict[str, list[str]] = {name: [] for name in sorted(names.values())}
    if len(found) < len(names):
        ((twice, _),) = Counter(names.values()).most_common(1)
        raise DataError(
            f"{path}", f"lists {twice} twice", "list it once; it may have any number of captions"
        )
    for entry, annotation in _entries(path, content, "annotations"):
        number = _value(entry, annotation, "image_id", (int, str))
        if number not in names:
            raise DataError(
                entry, f"no image has the id {number}", "list the image, or remove the caption"
            )
        caption = " ".join(_value(entry, annotation, "caption").split())
        if not caption:
            raise DataError(
                entry, f"the caption of {names[number]} is empty", "write one, or remove it"
            )
        found[names[number]].append(caption)
    for name, captions in found.items():
        if not captions:
            raise DataError(
                f"{path}", f"{name} has no caption", "write one, or remove it from the images"
            )
    return {name: tuple(captions) for name, captions in found.items()}


def list_captioned(part: str, folder: Path, names: Iterable[str], where: Path) -> list[ImageFile]:
    """The files of images that captions were read of.

    Args:
        part: train or test.
        folder: that the names are relative to.
        names: of the files.
        where: the captions, for the error.

    Raises:
        DataError: an image is missing.
    """
    files = []
    for name in names:
        path = folder / name
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(
                f"{path}",
                f"listed in {where}, but {error.strerror or error}",
                f"put it there, or give another folder as {part}_images",
            ) from error
        files.append(ImageFile(part, name, str(path), status.st_size, status.st_mtime_ns))
    return files


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}", f"no JSON: {error.msg}", _LAYOUT) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}", "no JSON: not UTF-8 text", _LAYOUT) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}", f"no captions: {error}", _LAYOUT) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(f"{path}", reason, "check the path") from error


def _entries(path: Path, content: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every entry of one of the file's lists, with what an error calls it."""
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}", f"has no list of {name}", _LAYOUT)
    for place, entry in enumerate(entries):
        yield f"{path}: {name}[{place}]", entry


def _value(where: str, entry: Any, name: str, kinds: type | tuple[type, ...] = str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kinds):
        what = "lacks" if value is None else f"has {value!r} as"
        raise DataError(where, f"{what} {name}", _LAYOUT)
    return value
