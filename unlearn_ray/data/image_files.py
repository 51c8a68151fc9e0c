"""Listing, fingerprinting and decoding folders of images."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from unlearn_ray.core.errors import DataError

T = TypeVar("T")

_PROGRESS_SECONDS = 5.0
_LAYOUT = "lay it out as train/CLASS/IMAGE and test/CLASS/IMAGE, with the same classes in both"


@dataclass(frozen=True)
class ImageFile:
    """One image.

    Attributes:
        part: train or test.
        name: CLASS/FILE, within the part.
        path: relative to the dataset's folder.
        size, mtime_ns: what tells that it was changed.
    """

    part: str
    name: str
    path: str
    size: int
    mtime_ns: int

    @property
    def class_name(self) -> str:
        """The folder that it lies in."""
        return self.name.split("/")[0]


@dataclass(frozen=True)
class Listing:
    """The files of a dataset, sorted by name; both sets have the same classes."""

    train: list[ImageFile]
    test: list[ImageFile]

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of their labels."""
        return tuple(sorted({file.class_name for file in self.train}))


def list_class_folders(root: Path) -> Listing:
    """The files of train/CLASS/ and test/CLASS/.

    Raises:
        DataError: a folder is missing, or train/ and test/ differ in their classes.
    """
    listing = Listing(list_images(root, "train"), list_images(root, "test"))
    train, test = ({f.class_name for f in files} for files in (listing.train, listing.test))
    if train != test:
        only = ", ".join(
            [f"train/{name}" for name in sorted(train - test)]
            + [f"test/{name}" for name in sorted(test - train)]
        )
        raise DataError(
            f"path = {root}",
            f"the classes of train/ and test/ differ: {only} has no counterpart",
            "make the same class folders in both",
        )
    return listing


def list_images(root: Path, part: str) -> list[ImageFile]:
    """The files of train/ or test/, sorted by name; hidden ones (leading dot) are left out.

    Raises:
        DataError: the folder is missing, holds no classes, or a class holds no files.
    """
    top = root / part
    found: list[ImageFile] = []
    try:
        for entry in _visible(top):
            if not entry.is_dir():
                raise DataError(f"{entry.path}", "lies outside any class folder", _LAYOUT)
            files = list(_files(entry.path, part, entry.name))
            if not files:
                raise DataError(
                    f"{entry.path}", "holds no images", "add images or remove the folder"
                )
            found += files
    except OSError as error:
        raise DataError(
            f"{error.filename or top}", error.strerror or str(error), _LAYOUT
        ) from error
    if not found:
        raise DataError(f"{top}", "holds no class folders", _LAYOUT)
    return sorted(found, key=lambda file: file.name)


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _files(folder: str, part: str, prefix: str) -> Iterator[ImageFile]:
    for entry in _visible(folder):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry.path, part, name)
        else:
            status = entry.stat()
            path = f"{part}/{name}"
            yield ImageFile(part, name, path, status.st_size, status.st_mtime_ns)


def fingerprint(digests: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over sorted (part, name, SHA-256 of the bytes)."""
    total = hashlib.sha256()
    for line in sorted("\x1f".join(digest) for digest in digests):
        total.update(f"{line}\x1e".encode())
    return total.hexdigest()


def read_digests(root: Path, files: list[ImageFile]) -> list[tuple[str, str, str]]:
    """(part, name, SHA-256 of the bytes) of every file."""
    return [
        (file.part, file.name, digest)
        for file, digest in zip(
            files,
            in_threads(lambda file: _digest(_bytes(root, file)), files, "read"),
            strict=True,
        )
    ]


def decode(
    root: Path, files: list[ImageFile], image_size: int
) -> tuple[UInt8[np.ndarray, "n size size 3"], list[tuple[str, str, str]]]:
    """The images, resized, and the digests of the bytes that they were decoded from.

    Raises:
        DataError: a file is not an image; the message names it.
    """
    images = np.empty((len(files), image_size, image_size, 3), dtype=np.uint8)

    def one(numbered: tuple[int, ImageFile]) -> tuple[str, str, str]:
        number, file = numbered
        data = _bytes(root, file)
        images[number] = decode_image(data, root / file.path, image_size)
        return file.part, file.name, _digest(data)

    return images, list(in_threads(one, list(enumerate(files)), "decoded"))


def decode_image(data: bytes, path: Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """One image of any size and mode, stretched to size x size (bilinear), RGB."""
    from PIL import Image

    unreadable = (OSError, ValueError, SyntaxError, EOFError, struct.error)
    try:
        with Image.open(io.BytesIO(data)) as image:
            resized = _rgb(image).resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(resized, dtype=np.uint8)
    except (*unreadable, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}",
            f"cannot be read as an image: {type(error).__name__}",
            "repair or remove it (names with a leading dot are left out)",
        ) from error


def _rgb(image: Any) -> Any:
    if image.mode.startswith("I"):
        # Pillow would cut 16-bit values off at 255 instead of scaling them.
        from PIL import Image

        scaled = np.asarray(image, dtype=np.float64) * (255 / 65535)
        image = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def _bytes(root: Path, file: ImageFile) -> bytes:
    path = root / file.path
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}", f"cannot be read: {error.strerror or error}", "check the file"
        ) from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_threads(work: Callable[[Any], T], items: list[Any], done: str) -> Iterator[T]:
    """`work` of every item, in order; long work says how far it is on standard error."""
    said = time.monotonic()
    with ThreadPoolExecutor() as pool:
        try:
            for number, result in enumerate(pool.map(work, items), 1):
                if time.monotonic() - said > _PROGRESS_SECONDS:
                    said = time.monotonic()
                    sys.stderr.write(f"images: {done} {number:,} of {len(items):,} files\n")
                yield result
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
