"""`LocalFolder`: objects as files of a folder."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from unlearn_ray.core.errors import (
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from unlearn_ray.storage.objects import check_name

# Parts with a leading dot are no object names, so nothing in here is ever listed.
_UNFINISHED = ".unfinished"
_LEFTOVER_SECONDS = 24 * 3600.0


class LocalFolder:
    """An `ObjectStore` in a folder, which the first write makes.

    An object is written into a file of `.unfinished/`, flushed to the disk, and then moved to
    its name. What a killed writer left there is removed once it is a day old.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()

    @property
    def url(self) -> str:
        """The absolute path."""
        return str(self.folder)

    def check_exists(self) -> None:
        """Raise StoreUnreachable unless the folder is one."""
        if not self.folder.is_dir():
            raise StoreUnreachable(
                f"store {self.folder}", "no such folder", "check the path, or run a sweep into it"
            )

    def read(self, name: str) -> bytes:
        """See `ObjectStore.read`."""
        with self._reading(name) as path:
            return path.read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `ObjectStore.write`."""
        with self._writing(name) as (unfinished, file, path):
            file.write(data)
            _finish(file)
            unfinished.replace(path)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.create`."""
        with self._writing(name) as (unfinished, file, path):
            file.write(data)
            _finish(file)
            try:
                path.hardlink_to(unfinished)
            except FileExistsError:
                return False
        return True

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        check_name(name)
        with _translated(f"{self.folder / name}"):
            (self.folder / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore.names`."""
        top = self.folder / prefix.rpartition("/")[0]
        found = []
        with _translated(f"{top}"):
            for folder, folders, files in os.walk(top, onerror=_unless_gone):
                folders[:] = [each for each in folders if not each.startswith(".")]
                where = Path(folder).relative_to(self.folder)
                found += [(where / each).as_posix() for each in files if each[0] != "."]
        return sorted(name for name in found if name.startswith(prefix))

    def upload(self, name: str, path: Path) -> None:
        """See `ObjectStore.upload`."""
        with path.open("rb") as source, self._writing(name) as (unfinished, file, target):
            shutil.copyfileobj(source, file, 1 << 20)
            _finish(file)
            unfinished.replace(target)

    def download(self, name: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        with self._reading(name) as source, source.open("rb") as file, finished_file(path) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)

    def remove_leftovers(self) -> None:
        """Remove what killed writers left unfinished at least a day ago."""
        folder = self.folder / _UNFINISHED
        for path in folder.iterdir() if folder.is_dir() else ():
            with _translated(f"{path}"), suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    path.unlink()

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        check_name(name)
        path = self.folder / name
        with _translated(f"{path}"):
            try:
                yield path
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise MissingObject(
                    f"object {name}",
                    f"not in the store {self.folder}",
                    "check that this is the store it was written to",
                ) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[tuple[Path, BinaryIO, Path]]:
        check_name(name)
        path = self.folder / name
        with _translated(f"{path}"):
            unfinished = self.folder / _UNFINISHED / uuid.uuid4().hex
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    yield unfinished, file, path
            finally:
                unfinished.unlink(missing_ok=True)


@contextmanager
def finished_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with _translated(f"{path}"):
        try:
            with unfinished.open("xb") as file:
                yield file
                _finish(file)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _finish(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _unless_gone(error: OSError) -> None:
    # A folder may be absent, a file, or vanish in the middle: then it holds no objects.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextmanager
def _translated(subject: str) -> Iterator[None]:
    """OSError as the tree's errors."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(subject, reason, "free space there, then run again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "allow this user to read and write there, or choose another store"
            raise StoreDenied(subject, reason, remedy) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            remedy = "choose a folder as the store, not a file"
            raise StoreUnreachable(subject, reason, remedy) from error
        raise StoreError(subject, reason, "check the disk that holds the store") from error
