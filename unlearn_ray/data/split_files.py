"""Few-shot split files, which divide classes, read as a classification dataset."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from unlearn_ray.core.errors import DataError
from unlearn_ray.data.image_files import ImageFile, Listing

SPLIT_FILES = ("train.csv", "val.csv", "test.csv")

_IMAGES = "images"
_LAYOUT = f"put {', '.join(SPLIT_FILES)} (columns filename, label) and {_IMAGES}/ side by side"


def list_split_files(root: Path, train_per_class: int) -> Listing:
    """Every image of the three files; of each class the first by name are the training set.

    Raises:
        DataError: a file is missing or malformed, or a class has no image left to test.
    """
    by_class: dict[str, set[str]] = {}
    for split in SPLIT_FILES:
        for filename, label in _rows(root / split):
            known = by_class.setdefault(label, set())
            if filename in known:
                raise DataError(f"{root / split}", f"{filename} is listed twice", "list it once")
            known.add(filename)
    if not by_class:
        raise DataError(f"{root}", "its split files list no image", _LAYOUT)
    listing = Listing([], [])
    for label in sorted(by_class):
        names = sorted(by_class[label])
        if len(names) <= train_per_class:
            raise DataError(
                f"train_per_class = {train_per_class}",
                f"class {label} has {len(names)} images, so none is left to test",
                "train on fewer of each class",
            )
        for place, name in enumerate(names):
            part = "train" if place < train_per_class else "test"
            getattr(listing, part).append(_file(root, part, label, name))
    return listing


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """File names and labels."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not {"filename", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path}", "lacks the columns filename and label", _LAYOUT)
            for row in reader:
                if not row["filename"] or not row["label"]:
                    raise DataError(
                        f"{path}:{reader.line_num}", "lacks a file name or a label", _LAYOUT
                    )
                yield row["filename"], row["label"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}", f"cannot be read: {reason}", _LAYOUT) from error


def _file(root: Path, part: str, label: str, name: str) -> ImageFile:
    path = f"{_IMAGES}/{name}"
    try:
        status = os.stat(root / path)
    except OSError as error:
        reason = f"listed as of class {label}, but {error.strerror or error}"
        raise DataError(f"{root / path}", reason, _LAYOUT) from error
    return ImageFile(part, f"{label}/{name}", path, status.st_size, status.st_mtime_ns)
