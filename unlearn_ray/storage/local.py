"""`LocalFolder`: objects as files in a folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from unlearn_ray.core.errors import (
    CorruptObject,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from unlearn_ray.storage.folders import Folders, create, move
from unlearn_ray.storage.objects import Entry, check_name

# Parts with a leading dot are not valid in object names, so nothing in here is ever listed.
_UNFINISHED = ".unfinished"


class LocalFolder:
    """An `ObjectStore` in a folder, which the first write creates.

    An object is written to a file in `.unfinished/`, flushed to the disk, and renamed; then the
    folder is flushed, too, so that of two objects the disk never holds the later one alone.
    Nothing is read or written through a link that leads out of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._folders = Folders(self.folder)

    def __reduce__(self) -> tuple[type[LocalFolder], tuple[Path]]:
        return LocalFolder, (self.folder,)

    @property
    def url(self) -> str:
        """The absolute path."""
        return str(self.folder)

    def check_exists(self) -> None:
        """Raise StoreUnreachable unless the folder exists."""
        if not self.folder.is_dir():
            raise StoreUnreachable(
                f"store {self.folder}", "no such folder", "check the path, or run a sweep into it"
            )

    def read(self, name: str, most: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        with self._reading(name) as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise self._corrupt(name, f"{size} bytes exceed the limit for such an object")
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """See `ObjectStore.write`."""
        with self._writing(name) as (unfinished, file, path):
            file.write(data)
            _finish(file)
            move(file, unfinished, path)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.create`."""
        with self._writing(name) as (unfinished, file, path):
            file.write(data)
            _finish(file)
            return create(unfinished, path)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        _unlink(self._path(name))

    def delete_all(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete_all`."""
        for name in names:
            _unlink(self._path(name))

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore.names`."""
        return sorted(name for _, names in self._folders_of(prefix) for name in names)

    def entries(self, prefix: str) -> list[Entry]:
        """See `ObjectStore.entries`."""
        found = []
        for folder, names in self._folders_of(prefix):
            for name in names:
                path = f"{folder}{os.sep}{name.rpartition('/')[2]}"
                with _translated(path), suppress(FileNotFoundError):
                    status = os.stat(path, follow_symlinks=False)
                    found.append(Entry(name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.name)

    def upload(self, name: str, path: Path) -> None:
        """See `ObjectStore.upload`."""
        with path.open("rb") as source, self._writing(name) as (unfinished, file, target):
            shutil.copyfileobj(source, file, 1 << 20)
            _finish(file)
            move(file, unfinished, target)

    def download(self, name: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        with self._reading(name) as file, finished_file(path) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)

    def remove_unfinished(self, age: float, now: float) -> int:
        """See `ObjectStore.remove_unfinished`."""
        removed = 0
        folder = self.folder / _UNFINISHED
        for path in folder.iterdir() if folder.is_dir() else ():
            with _translated(f"{path}"), suppress(FileNotFoundError, IsADirectoryError):
                status = path.stat(follow_symlinks=False)
                if now - status.st_mtime > age:
                    path.unlink()
                    removed += status.st_size
        return removed

    def _folders_of(self, prefix: str) -> Iterator[tuple[str, list[str]]]:
        """Folders as paths, and the names of the objects in each: text, as there may be many."""
        where = prefix.rpartition("/")[0]
        top = self._path(where) if where else self.folder
        self._check_inside(where, top)
        with _translated(f"{top}"):
            for folder, folders, files in os.walk(top, onerror=_unless_gone):
                folders[:] = [each for each in folders if not each.startswith(".")]
                inside = Path(folder).relative_to(self.folder).as_posix()
                begin = "" if inside == "." else f"{inside}/"
                names = [f"{begin}{each}" for each in files if not each.startswith(".")]
                if not begin.startswith(prefix):
                    names = [name for name in names if name.startswith(prefix)]
                yield folder, names

    def _path(self, name: str) -> Path:
        """The path of an object, whether it exists or not."""
        check_name(name)
        path = self.folder / name
        self._check_inside(name, path.parent)
        return path

    def _check_inside(self, name: str, folder: Path) -> None:
        """Refuse links that lead out of the store; its folder itself may be one."""
        real = os.path.realpath(folder)
        if real != str(folder) and not Path(real).is_relative_to(self.folder.resolve()):
            raise self._corrupt(name, "a symbolic link leads out of the store")

    def _corrupt(self, name: str, reason: str) -> CorruptObject:
        return CorruptObject(
            f"object {name} of {self.folder}", reason, "delete it there, or move it away"
        )

    @contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        with _translated(f"{path}"):
            try:
                # Opening a pipe waits for a writer, unless told not to.
                number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise self._missing(name) from error
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
                    raise self._corrupt(name, "it is not a regular file") from None
                raise
            kind = os.fstat(number).st_mode
            if not stat.S_ISREG(kind):
                os.close(number)
                if stat.S_ISDIR(kind):
                    raise self._missing(name)
                raise self._corrupt(name, "it is not a regular file")
            with os.fdopen(number, "rb") as file:
                yield file

    def _missing(self, name: str) -> MissingObject:
        return MissingObject(
            f"object {name}",
            f"not in the store {self.folder}",
            "check that this is the store it was written to",
        )

    @contextmanager
    def _writing(self, name: str) -> Iterator[tuple[Path, BinaryIO, Path]]:
        path = self._path(name)
        with _translated(f"{path}"):
            unfinished = self.folder / _UNFINISHED / uuid.uuid4().hex
            self._folders.make(unfinished.parent)
            self._folders.make(path.parent)
            try:
                with unfinished.open("xb") as file:
                    yield unfinished, file, path
            finally:
                unfinished.unlink(missing_ok=True)


@contextmanager
def finished_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is renamed to `path` only if the block ends without an error."""
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


def _unlink(path: Path) -> None:
    with _translated(f"{path}"), suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _finish(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _unless_gone(error: OSError) -> None:
    # A folder may be absent, a file, or vanish meanwhile: then it holds no objects.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextmanager
def _translated(subject: str) -> Iterator[None]:
    """Translate OSError into this package's errors."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(subject, reason, "free space there, then run again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "allow this user to read and write there, or choose another store"
            raise StoreDenied(subject, reason, remedy) from error
        if error.errno == errno.ENAMETOOLONG:
            raise StoreError(subject[:200], reason, "shorten what it is named for") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            remedy = "choose a folder as the store, not a file"
            raise StoreUnreachable(subject, reason, remedy) from error
        raise StoreError(subject, reason, "check the disk that holds the store") from error
