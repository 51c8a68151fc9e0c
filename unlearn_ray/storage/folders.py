"""Renaming finished files into place: atomic, durable and, if asked, only if the name is free.

File systems differ, and do not always report what they did:

- A network server's answer may be lost. The client retries, and is told that the name is taken,
  by its own file, or that the file it has moved is gone. So success is determined by looking at
  the file, whatever the answer was.
- Some file systems have no hard links (FAT, many network shares). There a reservation file that
  only one process can create holds the name until the finished file has been moved.
- A name is durable once its folder was flushed, and the folder's name once its parent was.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

# The errors of file systems without hard links.
_NO_LINKS = {
    *(errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EINVAL),
    *(errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES),
}
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}
# How long an idle reservation is honoured; it is needed for two requests.
RESERVED_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Folders:
    """Makes the folders of a store so that their names survive a power loss.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make a folder and those above it, unless they are there."""
        there = folder.is_dir()
        if there and folder in self._durable:
            return
        inside = folder != self._root and folder.is_relative_to(self._root)
        if not there or inside:
            self.make(folder.parent)
        if not there:
            try:
                folder.mkdir()
            except FileExistsError:
                if not folder.is_dir():
                    raise
        # An existing one may have been made just now, by a process that has not flushed it yet.
        if not there or inside:
            flush(folder.parent)
        self._durable.add(folder)


def flush(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system supports it."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(number)


def move(file: BinaryIO, unfinished: Path, path: Path) -> None:
    """Rename an unfinished file, which is open and flushed, replacing any file of the name."""
    try:
        os.replace(unfinished, path)
    except FileNotFoundError:
        if not _is(file, path):
            raise
    flush(path.parent)


def create(unfinished: Path, path: Path) -> bool:
    """Give an unfinished file, which is flushed, its name unless that is taken; whether it was."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if os.stat(unfinished).st_nlink == 1:
            if isinstance(error, FileExistsError):
                return False
            if error.errno in _NO_LINKS:
                return _create_reserved(unfinished, path)
            raise
    flush(path.parent)
    return True


def _is(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _create_reserved(unfinished: Path, path: Path) -> bool:
    """The same, without hard links."""
    # Machines may mount the store's folder in different places.
    name = os.path.relpath(path, unfinished.parent)
    reservation = unfinished.with_name(f"reserved-{hashlib.sha256(os.fsencode(name)).hexdigest()}")
    token = uuid.uuid4().hex.encode()
    while _reserve(reservation, token, path):
        try:
            if os.path.lexists(path):
                return False
            # A process that was suspended for too long has lost it.
            if _token(reservation) == token:
                os.replace(unfinished, path)
                flush(path.parent)
                return True
        finally:
            if _token(reservation) == token:
                reservation.unlink(missing_ok=True)
    return False


def _reserve(reservation: Path, token: bytes, path: Path) -> bool:
    """Reserve a name; False once it is taken. Waits while another process has reserved it."""
    seen, since = b"", time.monotonic()
    while not os.path.lexists(path):
        try:
            with reservation.open("xb") as file:
                file.write(token)
            return True
        except FileExistsError:
            other = _token(reservation)
        if other is None or other != seen:
            seen, since = other or b"", time.monotonic()
        elif time.monotonic() - since > RESERVED_SECONDS:
            _take_away(reservation)
            since = time.monotonic()
        time.sleep(_POLL_SECONDS)
    return False


def _take_away(reservation: Path) -> None:
    """Remove an abandoned reservation; if several processes try, one succeeds."""
    aside = reservation.with_name(uuid.uuid4().hex)
    with suppress(FileNotFoundError):
        reservation.rename(aside)
        aside.unlink()


def _token(reservation: Path) -> bytes | None:
    try:
        return reservation.read_bytes()
    except FileNotFoundError:
        return None
