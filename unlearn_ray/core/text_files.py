"""Reading files that a user names, with a clear error where that fails; writing files as a whole.

Only regular files are opened, so that reading never blocks on a pipe, and only up to a size that
is plausible for their content.
"""

from __future__ import annotations

import codecs
import os
import stat
from contextlib import suppress
from pathlib import Path

from unlearn_ray.core.errors import DataError, shown_path

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def expanded(path: str, field: str, remedy: str) -> Path:
    """A path as a user writes it, with `~` and `~user` expanded.

    Args:
        path: as written.
        field: that holds it, for the error.
        remedy: of the error.

    Raises:
        DataError: no file can have this name, or there is no such user.
    """
    try:
        # Before expanduser looks up a user of such a name.
        if b"\0" not in os.fsencode(path):
            return Path(path).expanduser()
        reason = "holds a NUL character"
    except UnicodeEncodeError:
        reason = "holds a lone surrogate, which no file name has"
    except RuntimeError:
        reason = "names a user whose home folder is not known"
    raise DataError(f"{field} = {shown_path(path)}", reason, remedy)


def regular_file(path: str, field: str, remedy: str, most_bytes: int | None = None) -> Path:
    """The path of a regular file, which can be read without blocking.

    Args:
        path: as written.
        field: that holds it, for the error.
        remedy: of the error.
        most_bytes: larger files are refused.

    Raises:
        DataError: it is missing, a folder, a pipe or a device, or too large.
    """
    place = expanded(path, field, remedy)
    try:
        status = place.stat()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(f"{field} = {shown_path(path)}", reason, remedy) from error
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise DataError(f"{field} = {shown_path(path)}", f"cannot be read: is {what}", remedy)
    if most_bytes is not None and status.st_size > most_bytes:
        reason = f"has {status.st_size:,} bytes, more than the limit of {most_bytes:,}"
        raise DataError(f"{field} = {shown_path(path)}", reason, remedy)
    return place


def read_file(path: str, field: str, remedy: str, most_bytes: int) -> bytes:
    """The bytes of a `regular_file`.

    Raises:
        DataError: as that, or it cannot be read.
    """
    place = regular_file(path, field, remedy, most_bytes)
    try:
        return place.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(f"{field} = {shown_path(path)}", reason, remedy) from error


def read_text(path: str, field: str, remedy: str, most_bytes: int) -> str:
    """The text of a `regular_file`: UTF-8, or the encoding of its byte order mark.

    Other encodings are never guessed: a wrong guess would change words.

    Raises:
        DataError: as `read_file`, or it cannot be decoded; the message says where.
    """
    data = read_file(path, field, remedy, most_bytes)
    codec, name = next(
        ((codec, name) for mark, codec, name in _MARKS if data.startswith(mark)),
        ("utf-8", "UTF-8"),
    )
    # In UTF-16, every other byte of ASCII text is NUL.
    if codec == "utf-8" and (data[:1] == b"\0") != (data[1:2] == b"\0"):
        reason = "not UTF-8 text: it seems to be UTF-16 without a byte order mark"
        raise DataError(shown_path(path), reason, "save it as UTF-8")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(codec, "replace").count("\n") + 1
        reason = f"not {name} text: byte {data[error.start]:#04x}"
        raise DataError(f"{shown_path(path)}:{line}", reason, "save it as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        reason = "holds a NUL character, which no text has"
        raise DataError(f"{shown_path(path)}:{line}", reason, "save it as UTF-8")
    return text


def lines(text: str) -> list[str]:
    """The lines of a text, split at \\n, \\r\\n and \\r only, not at Unicode's other breaks."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file as a whole: nobody reads a part of it, whatever is killed.

    Raises:
        OSError: it cannot be written; a file of that name is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):
            unfinished.unlink()
