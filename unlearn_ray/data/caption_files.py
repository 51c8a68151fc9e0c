"""Captions in COCO's JSON format, and their images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_ray.core.errors import DataError, listed, shown, shown_path
from unlearn_ray.core.text_files import read_text
from unlearn_ray.data.image_files import ImageFile

_LAYOUT = (
    'write {"images": [{"id": 1, "file_name": "a.jpg"}, ...], '
    '"annotations": [{"image_id": 1, "caption": "a cat"}, ...]}, as COCO does'
)
# COCO's own training captions take 92 MB.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Captioned:
    """The entry of one image in a caption file.

    Attributes:
        number: the image's id, as text.
        captions: in the order of the file.
    """

    number: str
    captions: tuple[str, ...]


def read_captions(path: str, field: str) -> dict[str, Captioned]:
    """The captions of every image, by file name in sorted order.

    Args:
        path: of the file.
        field: that holds the path, for the error.

    Raises:
        DataError: the file is missing or malformed, a caption is empty or has no image, an image
            is listed twice or has no caption.
    """
    content = _content(path, field)
    names = _names(path, content)
    found: dict[str, list[str]] = {number: [] for number in names}
    empty: list[str] = []
    foreign: list[str] = []
    for place, entry, annotation in _entries(path, content, "annotations"):
        number = _number(place, annotation, "image_id")
        text = _text(place, annotation, "caption")
        if number not in names:
            foreign.append(f"the id {shown(number)} of {entry}")
            continue
        caption = " ".join(text.split())
        if not caption:
            empty.append(f"of {shown(names[number])} ({entry})")
        found[number].append(caption)
    without = [shown(names[number]) for number, captions in found.items() if not captions]
    _refuse(path, "captions without an image", foreign, "list the images, or remove the captions")
    _refuse(path, "empty captions", empty, "write them, or remove them")
    _refuse(path, "images without a caption", without, "write one, or remove them from the images")
    by_name = sorted((name, number) for number, name in names.items())
    return {name: Captioned(number, tuple(found[number])) for name, number in by_name}


def _names(path: str, content: Any) -> dict[str, str]:
    """The file name of every image by its id."""
    names: dict[str, str] = {}
    places: dict[str, str] = {}
    twice: list[str] = []
    for place, entry, image in _entries(path, content, "images"):
        number, name = _number(place, image, "id"), _text(place, image, "file_name")
        if number in names:
            raise DataError(
                place, f"the id {shown(number)} is given twice", "give every image its own"
            )
        names[number] = name
        # `a.jpg` and `./a.jpg` are one image, which could be both forgotten and retained.
        first = places.setdefault(os.path.normpath(name), entry)
        if first != entry:
            twice.append(f"{shown(name)} ({first} and {entry})")
    _refuse(path, "images listed twice", twice, "list each once; it may have many captions")
    return names


def list_captioned(part: str, folder: Path, names: Sequence[str], where: str) -> list[ImageFile]:
    """The image files that a caption file lists.

    Args:
        part: train or test.
        folder: that the names are relative to.
        names: of the files.
        where: the caption file, for the error.

    Raises:
        DataError: images are missing.
    """
    files = []
    missing: list[str] = []
    for name in names:
        path = folder / name
        try:
            status = os.stat(path)
        except OSError as error:
            missing.append(f"{shown_path(path)} ({error.strerror or error})")
            continue
        files.append(ImageFile(part, name, str(path), status.st_size, status.st_mtime_ns))
    if missing:
        raise DataError(
            f"{part}_images = {shown_path(folder)}",
            f"{len(missing):,} of the {len(names):,} images of {shown_path(where)} cannot be read: "
            f"{listed(missing)}",
            f"put them there, or give another folder as {part}_images",
        )
    return files


def _content(path: str, field: str) -> Any:
    text = read_text(path, field, "check the path", _MOST_BYTES)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg}"
        raise DataError(f"{shown_path(path)}:{error.lineno}", reason, _LAYOUT) from error
    except (ValueError, RecursionError) as error:
        raise DataError(shown_path(path), f"not a caption file: {error}", _LAYOUT) from error


def _entries(path: str, content: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Every entry of one of the file's lists, with its long and short name for errors."""
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(shown_path(path), f"has no list of {name}", _LAYOUT)
    for place, entry in enumerate(entries):
        short = f"{name}[{place}]"
        yield f"{shown_path(path)}: {short}", short, entry


def _number(where: str, entry: Any, name: str) -> str:
    """An id as text; the file may hold a whole number or a text."""
    return str(_value(where, entry, name, (int, str)))


def _text(where: str, entry: Any, name: str) -> str:
    text: str = _value(where, entry, name, (str,))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(where, f"its {name} holds a lone surrogate", "rewrite it") from None
    if "\0" in text:
        raise DataError(where, f"its {name} holds a NUL character", "rewrite it")
    return text


def _value(where: str, entry: Any, name: str, kinds: tuple[type, ...]) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    # To Python, true is a whole number.
    if not isinstance(value, kinds) or isinstance(value, bool):
        what = "lacks" if value is None else f"has {shown(json.dumps(value))} as"
        raise DataError(where, f"{what} {name}", _LAYOUT)
    return value


def _refuse(path: str, what: str, found: Sequence[str], remedy: str) -> None:
    if found:
        raise DataError(shown_path(path), f"{what}, {len(found):,} in all: {listed(found)}", remedy)
