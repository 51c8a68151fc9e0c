"""Few-shot split files, which divide classes, read as a classification dataset."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from unlearn_ray.core.errors import DataError, listed, shown, shown_path
from unlearn_ray.core.text_files import read_text
from unlearn_ray.data.image_files import ImageFile, Listing

SPLIT_FILES = ("train.csv", "val.csv", "test.csv")

_IMAGES = "images"
_LAYOUT = f"put {', '.join(SPLIT_FILES)} (columns filename, label) and {_IMAGES}/ side by side"
_MOST_BYTES = 1 << 28


def list_split_files(root: Path, train_per_class: int) -> Listing:
    """All images of the three files; the first by name in each class are the training set.

    Raises:
        DataError: a file is missing or malformed, or a class has no image left to test.
    """
    by_class: dict[str, set[str]] = {}
    files: set[str] = set()
    twice: list[str] = []
    for split in SPLIT_FILES:
        for where, filename, label in _rows(root / split):
            # An image with two classes could be both forgotten and retained.
            if (file := os.path.normpath(filename)) in files:
                twice.append(f"{shown(filename)} ({where})")
                continue
            files.add(file)
            by_class.setdefault(label, set()).add(filename)
    if twice:
        reason = f"{len(twice):,} rows repeat an image: {listed(twice)}"
        raise DataError(shown_path(root), reason, "list each image once")
    if not by_class:
        raise DataError(shown_path(root), "its split files list no image", _LAYOUT)
    small = [
        f"{shown(label)} ({len(names)} images)"
        for label, names in sorted(by_class.items())
        if len(names) <= train_per_class
    ]
    if small:
        raise DataError(
            f"train_per_class = {train_per_class}",
            f"{len(small):,} classes have no test image left: {listed(small)}",
            "lower train_per_class",
        )
    return _listing(root, by_class, train_per_class)


def _listing(root: Path, by_class: dict[str, set[str]], train_per_class: int) -> Listing:
    listing = Listing([], [])
    missing: list[str] = []
    for label in sorted(by_class):
        for place, name in enumerate(sorted(by_class[label])):
            part = "train" if place < train_per_class else "test"
            path = f"{_IMAGES}/{name}"
            try:
                status = os.stat(root / path)
            except OSError as error:
                missing.append(f"{shown(path)} of class {shown(label)} ({error.strerror or error})")
                continue
            file = ImageFile(part, f"{label}/{name}", path, status.st_size, status.st_mtime_ns)
            getattr(listing, part).append(file)
    _refuse(root, "listed images cannot be read", missing)
    return listing


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Location, file name and label of each row."""
    text = read_text(str(path), "path", _LAYOUT, _MOST_BYTES)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    bad: list[str] = []
    try:
        if not {"filename", "label"} <= set(reader.fieldnames or ()):
            raise DataError(shown_path(path), "lacks the columns filename and label", _LAYOUT)
        for row in reader:
            filename, label = row["filename"] or "", row["label"] or ""
            where = f"{path.name}:{reader.line_num}"
            # Part of a sample's name, CLASS/FILE; ` cat` would be another class than `cat`.
            if any(word != word.strip() or not word for word in (filename, label)):
                bad.append(f"{shown(filename)}, {shown(label)} ({where})")
            elif "/" in label:
                bad.append(f"label {shown(label)} ({where})")
            else:
                yield where, filename, label
    except csv.Error as error:
        where = f"{shown_path(path)}:{reader.line_num}"
        raise DataError(where, f"not CSV: {error}", _LAYOUT) from error
    _refuse(path, "rows lack a file name or a label, or have blanks or a / in them", bad)


def _refuse(path: Path, what: str, found: Sequence[str]) -> None:
    if found:
        raise DataError(shown_path(path), f"{len(found):,} {what}: {listed(found)}", _LAYOUT)
