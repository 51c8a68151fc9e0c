"""A local store on file systems that cannot link, lose answers, or lose power."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.storage.test_store import RECORD
from unlearn_ray.core.errors import StoreDenied, StoreError
from unlearn_ray.storage import folders
from unlearn_ray.storage.store import Store, open_store

# System calls by number, x86-64 and ARM64: link, linkat.
_LINK = {"x86_64": (86, 265), "aarch64": (37,)}

# A process whose kernel refuses hard links, as FAT and many network shares do.
_WITHOUT_LINKS = """
import ctypes, os, struct, sys
numbers, answer = eval(sys.argv[1]), int(sys.argv[2])
code = [(0x20, 0, 0, 0)]  # load the system call's number
for place, number in enumerate(numbers):
    code.append((0x15, len(numbers) - place, 0, number))  # if it is this one, to the last line
code += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050000 | answer)]  # allow; refuse
program = b"".join(struct.pack("HBBI", *line) for line in code)
held = ctypes.create_string_buffer(program, len(program))
filters = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filters, 0, 0) == 0, os.strerror(ctypes.get_errno())
from unlearn_ray.storage.store import Work, open_store
store = open_store(sys.argv[3])
try:
    os.link(sys.executable, sys.argv[3] + ".linked")
except OSError as error:
    assert error.errno == answer
else:
    raise AssertionError("it can link")
"""

_WRITE_ALL = (
    _WITHOUT_LINKS
    + """
me = sys.argv[4]
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[5])):
    if store.objects.create(f"race/{number:03d}", f"{me} {number} {'x' * 20000}".encode()):
        print(number, flush=True)
"""
)


def without_links(script: str, answer: int, store: str, *arguments: str) -> subprocess.Popen[str]:
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _LINK:
        pytest.skip("a kernel that can be asked to refuse links is needed")
    given = [str(_LINK[machine]), str(answer), store, *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", script, *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_of_several_processes_without_links_one_creates(tmp_path: Path) -> None:
    url, count = str(tmp_path / "store"), 60
    writers = [
        without_links(_WRITE_ALL, answer, url, f"writer-{answer}", str(count))
        for answer in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    halves: list[str] = []
    done = threading.Event()

    def watch() -> None:
        """A reader sees whole objects alone."""
        objects = open_store(url).objects
        while not done.is_set():
            halves.extend(
                name for name in objects.names("race/") if len(objects.read(name)) < 20000
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    created: dict[int, str] = {}
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda writer: writer.communicate("\n")[0], writers))
    done.set()
    watcher.join()
    for writer, text in zip(writers, told, strict=True):
        assert writer.returncode == 0
        for number in map(int, text.split()):
            assert number not in created, "two created one object"
            created[number] = str(writer.args[6])
    assert sorted(created) == list(range(count))
    objects = open_store(url).objects
    for number, writer_name in created.items():
        assert objects.read(f"race/{number:03d}").startswith(f"{writer_name} ".encode())
    assert halves == []
    assert list((tmp_path / "store" / ".unfinished").iterdir()) == []


_ALL_ELSE = (
    _WITHOUT_LINKS
    + """
store.check_writable()
lease = store.lease("step", Work("unlearn"))
assert store.lease("step", Work("unlearn")) is None
lease.release()
assert store.lease("step", Work("unlearn")).generation == 2
assert store.write_row("a", {"x": 1}) and not store.write_row("a", {"x": 2})
assert store.row("a") == {"x": 1}
assert store.identify() == store.identify()
print("well")
"""
)


def test_a_store_without_links_does_all_that_others_do(tmp_path: Path) -> None:
    process = without_links(_ALL_ELSE, errno.EPERM, str(tmp_path / "store"))
    assert process.communicate("")[0] == "well\n"


def refuse(number: int) -> Callable[..., None]:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return link


@pytest.mark.parametrize(
    "number",
    [errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES],
)
def test_each_answer_that_means_no_links(
    number: int, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    assert local_store.objects.create("x", b"first")
    assert not local_store.objects.create("x", b"second")
    assert local_store.objects.read("x") == b"first"


def test_other_answers_are_errors(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EIO))
    with pytest.raises(StoreError, match="Input/output error; check the disk"):
        local_store.objects.create("x", b"first")
    monkeypatch.setattr(os, "link", refuse(errno.EROFS))
    with pytest.raises(StoreDenied):
        local_store.objects.create("x", b"first")
    assert local_store.objects.names("") == []


@pytest.mark.parametrize("answer", [errno.EEXIST, errno.ETIMEDOUT, errno.EIO])
def test_an_answer_to_link_that_was_lost(
    answer: int, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has linked; what it says to the request that is repeated is another matter."""
    link = os.link

    def lossy(*arguments: Any) -> None:
        link(*arguments)
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "link", lossy)
    assert local_store.objects.create("x", b"mine")
    monkeypatch.undo()
    assert not local_store.objects.create("x", b"another's")
    assert local_store.objects.read("x") == b"mine"


def test_an_answer_to_rename_that_was_lost(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def lossy(source: Path, target: Path) -> None:
        replace(source, target)
        replace(source, target)  # the client asks again

    monkeypatch.setattr(os, "replace", lossy)
    local_store.objects.write("x", b"mine")
    assert local_store.objects.read("x") == b"mine"


def test_a_reservation_that_was_left_is_taken_away(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(folders, "RESERVED_SECONDS", 0.3)
    kept = Path.unlink

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("reserved-"):
            raise KeyboardInterrupt
        kept(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", die)
    monkeypatch.setattr(os, "replace", refuse(errno.EIO))
    with pytest.raises(KeyboardInterrupt):
        local_store.objects.create("x", b"of the dead")
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(folders, "RESERVED_SECONDS", 0.3)
    begun = time.monotonic()
    assert local_store.objects.create("x", b"mine")
    assert time.monotonic() - begun > 0.3
    assert local_store.objects.read("x") == b"mine"


class Recorder:
    """What is asked of the system, in its order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.calls: list[tuple[str, str]] = []
        fsync, link, replace, mkdir = os.fsync, os.link, os.replace, os.mkdir

        def record(what: str, path: Any) -> None:
            place = Path(os.fsdecode(path))
            if place.is_relative_to(root):
                self.calls.append((what, place.relative_to(root).as_posix()))

        def flushed(number: int) -> None:
            fsync(number)
            record("flush", os.readlink(f"/proc/self/fd/{number}"))

        def linked(source: Path, target: Path, **options: Any) -> None:
            record("name", target)
            link(source, target, **options)

        def moved(source: Path, target: Path, **options: Any) -> None:
            record("name", target)
            replace(source, target, **options)

        def made(path: Any, *options: Any, **named: Any) -> None:
            mkdir(path, *options, **named)
            record("make", path)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "link", linked)
        monkeypatch.setattr(os, "replace", moved)
        monkeypatch.setattr(os, "mkdir", made)


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files")
def test_a_record_is_on_the_disk_after_its_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = open_store(str(tmp_path / "above" / "store"))
    files = store.put_artifact("pretrain", RECORD.key, {"model": b"weights"})
    model = f"above/store/{files['model'].name}"
    before_the_record = list(recorder.calls)
    store.complete(RECORD)
    record = f"above/store/records/pretrain/{RECORD.key}.json"
    named = [path for what, path in recorder.calls if what == "name"]
    assert named == [model, record]
    # Before a file gets its name, its content was flushed; at once after, its folder.
    for path in named:
        place = recorder.calls.index(("name", path))
        assert recorder.calls[place - 1][0] == "flush"
        assert ".unfinished/" in recorder.calls[place - 1][1]
        assert recorder.calls[place + 1] == ("flush", os.path.dirname(path))
    # And so was every folder in which a new one was made, before the record was begun.
    made = [path for what, path in before_the_record if what == "make"]
    assert "above" in made
    assert os.path.dirname(model) in made
    for path in made:
        after = before_the_record[before_the_record.index(("make", path)) :]
        assert ("flush", os.path.dirname(path) or ".") in after


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files")
def test_a_folder_that_another_made_is_flushed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker may have lost power, or stand before its own flush."""
    (tmp_path / "store" / "rows" / "s").mkdir(parents=True)
    recorder = Recorder(tmp_path, monkeypatch)
    store = open_store(str(tmp_path / "store"))
    for number in range(3):
        store.objects.write(f"rows/s/{number}", b"")
    flushes = [path for what, path in recorder.calls if what == "flush"]
    assert flushes.count("store/rows") == 1
    assert flushes.count("store/rows/s") == 3  # for each new name


def test_folders_that_cannot_be_flushed_are_no_error(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def some(number: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{number}"):
            raise OSError(errno.EINVAL, "not on this file system")
        fsync(number)

    monkeypatch.setattr(os, "fsync", some)
    local_store.objects.write("a/b", b"x")
    assert local_store.objects.read("a/b") == b"x"
