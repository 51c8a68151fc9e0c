"""Text that was made elsewhere: read as what it is, or refused with the place and the reason."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from unlearn_ray.core.errors import DataError, did_you_mean, listed, shown
from unlearn_ray.core.text_files import expanded, lines, read_text, write_whole

TEXT = "5\n6\ncaf\u00e9 \u732b\n"


def read(path: Path | str, most_bytes: int = 1_000) -> str:
    return read_text(str(path), "file", "give another", most_bytes)


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
def test_every_unicode_encoding_with_a_mark(codec: str, tmp_path: Path) -> None:
    text = TEXT if codec in ("utf-8", "utf-8-sig", "utf-16", "utf-32") else f"\ufeff{TEXT}"
    (tmp_path / "a.txt").write_bytes(text.encode(codec))
    assert read(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("5\n6\n".encode("utf-16-le"), "a.txt: not UTF-8 text: it seems to be UTF-16 without a"),
        ("5\n6\n".encode("utf-16-be"), "a.txt: not UTF-8 text: it seems to be UTF-16 without a"),
        (
            "5\n6\ncaf\u00e9\n".encode("utf-16-le"),
            "it seems to be UTF-16 without a byte order mark",
        ),
        ("5\n6\ncaf\u00e9\n".encode("latin-1"), "a.txt:3: not UTF-8 text: byte 0xe9; save it as"),
        (b"\xff\xfe5\x006", "a.txt:1: not UTF-16 text: "),
        (b"5\n\xed\xa0\x80\n", "a.txt:2: not UTF-8 text: byte 0xed"),
        (b"5\n6\x007\n", "a.txt:2: holds a NUL character, which no text has"),
        (b"x" * 1_001, "a.txt: has 1,001 bytes, more than the limit of 1,000"),
    ],
)
def test_no_encoding_is_guessed(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.txt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lines_of_all_systems() -> None:
    assert lines("a\r\nb\rc\nd") == ["a", "b", "c", "d"]
    # What Unicode and str.splitlines also break at may stand in a name.
    assert lines("a\u2028b\x0bc\x85d\x1ce") == ["a\u2028b\x0bc\x85d\x1ce"]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_pipe, "is a pipe, a socket or a device"),
        (make_socket, "is a pipe, a socket or a device"),
        (make_link_to_a_device, "is a pipe, a socket or a device"),
        (Path.mkdir, "is a folder"),
        (lambda path: None, "No such file or directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    with pytest.raises(DataError, match=f"/a: cannot be read: {message}; give another"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "~nosuchuser/a.txt",
            r"file = ~nosuchuser/a.txt: names a user whose home folder is not kn",
        ),
        ("a\0b", r"file = 'a\\x00b': holds a NUL character; give another"),
        ("a\ud800b", r"file = 'a\\ud800b': holds a lone surrogate, which no file name has"),
        ("~a\0b", r"file = '~a\\x00b': holds a NUL character"),
        ("~a\ud800b/c", r"file = '~a\\ud800b/c': holds a lone surrogate"),
        ("x" * 5_000, r"file = x{397}\.\.\.: cannot be read: File name too long"),
        ("", r"file = '': cannot be read: is a folder"),
    ],
)
def test_paths_that_no_file_has(path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(path)


def test_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/a.txt", "file", "") == Path("/somewhere/a.txt")
    # A name that is no UTF-8 is one all the same.
    assert expanded("caf\udce9", "file", "") == Path("caf\udce9")


def test_lists_in_messages_are_short() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(1_000_005)) == "0, 1, 2, 3, 4 and 1,000,000 more"
    assert len(did_you_mean("?", (f"{number} {'x' * 100}" for number in range(10_000)))) < 2_000
    assert shown("x" * 100, 10) == "xxxxxxx..."
    assert shown("\x1b[2Ja") == r"'\x1b[2Ja'"
    assert shown("") == "''"


def test_a_file_is_written_as_a_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_whole(path, b"one")
    write_whole(path, b"another")
    with pytest.raises(OSError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "kept.txt", b"lost")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"another"
    assert [file.name for file in tmp_path.iterdir()] == ["kept.txt"]
