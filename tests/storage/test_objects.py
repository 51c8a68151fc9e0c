"""One suite for both kinds of object store."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.s3_server import PAGE
from unlearn_ray.core.errors import (
    CorruptObject,
    MissingObject,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.store import Store, open_store


def test_write_read_replace_delete(store: Store) -> None:
    objects = store.objects
    objects.write("a/b.bin", b"one")
    objects.write("a/b.bin", b"two")
    assert objects.read("a/b.bin") == b"two"
    objects.delete("a/b.bin")
    objects.delete("a/b.bin")
    with pytest.raises(MissingObject, match=r"a/b\.bin"):
        objects.read("a/b.bin")


def test_many_go_at_once(store: Store) -> None:
    names = [f"a/{number}" for number in range(12)]
    for name in names:
        store.objects.write(name, b"")
    store.objects.delete_all([*names[:9], "a/absent"])
    assert store.objects.names("a/") == sorted(names[9:])
    store.objects.delete_all([])
    assert store.objects.names("a/") == sorted(names[9:])


def test_a_folder_of_objects_is_no_object(store: Store) -> None:
    store.objects.write("a/b/c", b"")
    for name in ("a", "a/b", "a/b/c/d"):
        with pytest.raises(MissingObject):
            store.objects.read(name)
    assert store.objects.read("a/b/c") == b""


def test_create_keeps_the_first(store: Store) -> None:
    assert store.objects.create("x", b"first")
    assert not store.objects.create("x", b"first")
    assert not store.objects.create("x", b"second")
    assert store.objects.read("x") == b"first"


def test_of_eight_creators_one_wins(store: Store) -> None:
    barrier = threading.Barrier(8)

    def attempt(round_and_writer: tuple[int, int]) -> bool:
        number, writer = round_and_writer
        barrier.wait()
        return store.objects.create(f"race/{number}", f"writer {writer}".encode())

    with ThreadPoolExecutor(8) as pool:
        for number in range(60 if isinstance(store.objects, LocalFolder) else 6):
            won = list(pool.map(attempt, [(number, writer) for writer in range(8)]))
            assert won.count(True) == 1
            expected = f"writer {won.index(True)}".encode()
            assert store.objects.read(f"race/{number}") == expected


def test_names_start_with_any_text_and_are_sorted(store: Store) -> None:
    names = ["rows/a/2.parquet", "rows/a/10.parquet", "rows/ab.parquet", "rowsets", "z/y/x"]
    for name in names:
        store.objects.write(name, b"")
    assert store.objects.names("") == sorted(names)
    assert store.objects.names("rows/a") == sorted(names[:3])
    assert store.objects.names("rows/a/") == sorted(names[:2])
    assert store.objects.names("rows/a/1") == ["rows/a/10.parquet"]
    assert store.objects.names("nothing/") == []


def test_more_names_than_a_page(store: Store) -> None:
    count = 2 * PAGE + 5
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: store.objects.write(f"n/{i:04d}", b""), range(count)))
    assert store.objects.names("n/") == [f"n/{i:04d}" for i in range(count)]


def test_upload_and_download_big_files(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(os.urandom(1 << 20) * 20)
    store.objects.upload("big", source)
    store.objects.download("big", target)
    assert target.read_bytes() == source.read_bytes() == store.objects.read("big")
    with pytest.raises(MissingObject):
        store.objects.download("absent", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.rglob("*") if "store" not in path.parts) >= ["new"]
    assert not (tmp_path / "other").exists()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_download_that_fails_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(MissingObject):
        store.objects.download("absent", target)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a//b", "a/../b", "a/.hidden", "a/"])
def test_names_stay_inside(store: Store, name: str) -> None:
    with pytest.raises(CorruptObject, match="not a valid object name"):
        store.objects.write(name, b"")
    with pytest.raises(CorruptObject, match="not a valid object name"):
        store.objects.read(name)


def test_a_pickled_store_and_its_url_are_the_same_store(store: Store) -> None:
    store.objects.write("x", b"1")
    assert pickle.loads(pickle.dumps(store)).objects.read("x") == b"1"
    assert open_store(store.url).objects.read("x") == b"1"
    assert open_store(store.url).url == store.url


def test_check_writable_leaves_nothing(store: Store) -> None:
    store.check_writable()
    store.check_readable()
    assert store.objects.names("") == []


_BIG_WRITER = """
import sys
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.store import open_store
data = b"x" * (300 << 20)
objects = open_store(sys.argv[1]).objects
print("start", flush=True)
objects.write("big", data)
print("end", flush=True)
"""


def test_kill_9_in_the_middle_of_a_large_write(store: Store) -> None:
    store.objects.write("big", b"the previous one")
    writer = subprocess.Popen(
        [sys.executable, "-c", _BIG_WRITER, store.url], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "start\n"
    time.sleep(0.03)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert writer.stdout.read() == "", "killed too late: the test tests nothing"
    assert store.objects.names("") == ["big"]
    assert store.objects.read("big") == b"the previous one"


def test_leftovers_of_killed_writers_go_after_a_day(local_store: Store) -> None:
    local_store.objects.write("x", b"")
    unfinished = Path(local_store.url) / ".unfinished"
    for name, hours in (("fresh", 1), ("old", 25)):
        (unfinished / name).write_bytes(b"half")
        os.utime(unfinished / name, (time.time() - hours * 3600,) * 2)
    assert local_store.objects.names("") == ["x"]
    local_store.remove_leftovers()
    assert [path.name for path in unfinished.iterdir()] == ["fresh"]


def test_full_disk(small_disk: Path) -> None:
    store = open_store(str(small_disk / "store"))
    store.objects.write("model", b"a" * (1 << 20))
    with pytest.raises(StoreFull, match=r"model.*free space"):
        store.objects.write("model", b"b" * (4 << 20))
    assert store.objects.read("model") == b"a" * (1 << 20)
    assert store.objects.names("") == ["model"]
    assert not list((small_disk / "store" / ".unfinished").iterdir())
    store.objects.write("model", b"c" * (1 << 20))


def test_read_only_folder(read_only_folder: Path) -> None:
    for url in (read_only_folder, read_only_folder / "new"):
        with pytest.raises(StoreDenied, match="read-only"):
            open_store(str(url)).check_writable()


def test_the_store_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for url in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnreachable, match="file"):
            open_store(str(url)).check_writable()
        with pytest.raises(StoreUnreachable, match="no such folder"):
            open_store(str(url)).check_readable()
