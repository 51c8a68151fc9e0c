"""Listing, fingerprinting and decoding folders of images."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from unlearn_ray.core.errors import DataError, listed, shown
from unlearn_ray.data.base import Resize
from unlearn_ray.data.problems import Problems
from unlearn_ray.data.threads import Memory, in_threads

T = TypeVar("T")

_LAYOUT = "lay it out as train/CLASS/IMAGE and test/CLASS/IMAGE, with the same classes in both"
# What systems and sync tools leave in folders of images.
_NOT_OURS = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "__macosx", "lost+found",
    "$recycle.bin", "system volume information",
}  # fmt: skip


@dataclass(frozen=True)
class ImageFile:
    """One image.

    Attributes:
        part: train or test.
        name: CLASS/FILE, within the part.
        path: relative to the dataset's folder.
        size, mtime_ns: to detect changes.
    """

    part: str
    name: str
    path: str
    size: int
    mtime_ns: int

    @property
    def class_name(self) -> str:
        """The folder that holds it."""
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
        only = listed(
            [f"train/{shown(name)}" for name in sorted(train - test)]
            + [f"test/{shown(name)}" for name in sorted(test - train)]
        )
        raise DataError(
            f"path = {root}",
            f"the classes of train/ and test/ differ: {only} has no counterpart",
            "make the same class folders in both",
        )
    return listing


def list_images(root: Path, part: str) -> list[ImageFile]:
    """The files of train/ or test/, sorted by name.

    Hidden files (leading dot) and those that operating systems add are skipped.

    Raises:
        DataError: the folder is missing or holds no classes, a folder in it holds no files, or
            an entry is not a regular file, is empty, or has a name that is not UTF-8.
    """
    top = root / part
    found: list[ImageFile] = []
    problems = Problems(f"{top}", f"{top}")
    try:
        above, entries = (_number(top),), _visible(top)
    except OSError as error:
        raise DataError(f"{top}", error.strerror or str(error), _LAYOUT) from error
    for entry in entries:
        # For a circular link, is_dir raises an error.
        if Path(entry.path).is_dir():
            found += _files(entry.path, part, entry.name, problems, above)
        else:
            problems.add(_error(entry.path, "lies outside any class folder", _LAYOUT))
    problems.raise_any()
    if not found:
        raise DataError(f"{top}", "holds no class folders", _LAYOUT)
    return sorted(found, key=lambda file: file.name)


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.lower() not in _NOT_OURS
        ]


def _number(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _files(
    folder: str, part: str, prefix: str, problems: Problems, above: tuple[tuple[int, int], ...]
) -> list[ImageFile]:
    """The files of a folder and its subfolders; errors are added to `problems`."""
    found: list[ImageFile] = []
    try:
        check_name(prefix, folder)
        number, entries = _number(folder), _visible(folder)
        if number in above:
            raise _error(folder, "is a link to a folder that it lies in", "remove the link")
        if not entries:
            raise _error(folder, "holds no images", "add images or remove the folder")
    except OSError as error:
        problems.add(_error(folder, error.strerror or str(error), "make the folder readable"))
        return found
    except DataError as error:
        problems.add(error)
        return found
    for entry in entries:
        name = f"{prefix}/{entry.name}"
        try:
            if entry.is_dir():
                found += _files(entry.path, part, name, problems, (*above, number))
            else:
                found.append(image_file(part, name, Path(entry.path)))
        except OSError as error:
            reason = error.strerror or str(error)
            if entry.is_symlink():
                reason = f"is a link that leads nowhere: {reason}"
            problems.add(_error(entry.path, reason, "repair or remove it"))
        except DataError as error:
            problems.add(error)
    return found


def check_name(name: str, path: str) -> None:
    """Refuse a name that a UTF-8 file list could not hold.

    Raises:
        DataError: the name is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        reason = "its name is not UTF-8, so it cannot be listed in a file"
        raise _error(path, reason, "rename it") from error


def image_file(part: str, name: str, path: Path) -> ImageFile:
    """Describe an image file without opening it.

    Args:
        part: train or test.
        name: within the part.
        path: of the file.

    Raises:
        DataError: it is not a regular file, is empty, or has a name that is not UTF-8.
        OSError: there is no such file, or it cannot be accessed.
    """
    check_name(name, str(path))
    status = _regular(path)
    return ImageFile(part, name, f"{part}/{name}", status.st_size, status.st_mtime_ns)


def _regular(path: Path) -> os.stat_result:
    """The status of a non-empty regular file, which can be opened without blocking."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _error(str(path), f"is {_kind(status.st_mode)}, not a file", "remove it")
    if not status.st_size:
        raise _error(str(path), "is empty", "repair or remove it")
    return status


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _error(path: str, reason: str, remedy: str) -> DataError:
    return DataError(path, reason, remedy)


def fingerprint(digests: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over sorted (part, name, SHA-256 of the bytes); a name may hold any character."""
    total = hashlib.sha256()
    for digest in sorted(digests):
        total.update(json.dumps(digest).encode() + b"\n")
    return total.hexdigest()


def read_digests(root: Path, files: list[ImageFile]) -> list[tuple[str, str, str]]:
    """(part, name, SHA-256 of the bytes) of every file; also checks the headers.

    Raises:
        DataError: files cannot be read, or are not images that can be decoded.
    """
    # It imports Pillow, which is slow and needed only if there are files to read.
    from unlearn_ray.data.image_decoding import memory_needed

    def one(file: ImageFile) -> tuple[str, str, str]:
        with _reading(root / file.path) as opened:
            memory_needed(opened, root / file.path, file.size)
            opened.seek(0)
            return file.part, file.name, hashlib.file_digest(opened, "sha256").hexdigest()

    return _all_of(one, files, "read", root)


def decode(
    root: Path, files: list[ImageFile], image_size: int, resize: Resize = "crop"
) -> tuple[UInt8[np.ndarray, "n size size 3"], list[tuple[str, str, str]]]:
    """The resized images, and the digests of the bytes that they were decoded from.

    Raises:
        DataError: files cannot be decoded; it gives their number, and name and reason of a few.
    """
    from unlearn_ray.data.image_decoding import MEMORY, decode_image, memory_needed

    images = _empty(len(files), image_size)
    memory = Memory(MEMORY)

    def one(numbered: tuple[int, ImageFile]) -> tuple[str, str, str]:
        number, file = numbered
        path = root / file.path
        with _reading(path) as opened:
            with memory.taken(file.size):
                needed = memory_needed(opened, path, file.size)
            with memory.taken(needed):
                opened.seek(0)
                data = opened.read(file.size + 1)
                images[number] = decode_image(data, path, image_size, resize)
                return file.part, file.name, hashlib.sha256(data).hexdigest()

    return images, _all_of(one, list(enumerate(files)), "decoded", root)


def _empty(count: int, size: int) -> UInt8[np.ndarray, "n size size 3"]:
    try:
        return np.empty((count, size, size, 3), dtype=np.uint8)
    except MemoryError as error:
        taken = count * size * size * 3 / 2**30
        raise DataError(
            f"image_size = {size}",
            f"{count:,} images take {taken:,.1f} GiB of memory, more than is available",
            "lower image_size, or use a machine with more memory",
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[io.BufferedReader]:
    """The file, opened so that it never blocks, even if a pipe has replaced it meanwhile."""
    try:
        _regular(path)
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number, "rb") as opened:
            mode = os.fstat(number).st_mode
            if not stat.S_ISREG(mode):
                raise _error(str(path), f"is {_kind(mode)}, not a file", "remove it")
            yield opened
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise _error(str(path), reason, "check the file") from error


def _all_of(work: Callable[[Any], T], items: list[Any], done: str, root: Path) -> list[T]:
    """Apply `work` to every item, and collect all errors in one."""

    def tried(item: Any) -> T | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    problems, results = Problems(f"{len(items):,} images", f"{root}"), []
    for result in in_threads(tried, items, done):
        if isinstance(result, DataError):
            problems.add(result)
        else:
            results.append(result)
    problems.raise_any()
    return results
