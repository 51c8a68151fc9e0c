"""What others put into a store: left alone where it is not ours, named where it is damaged."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.storage.strangers import IN_A_FOLDER, is_there, put_stranger, surround
from tests.storage.test_leases import TIME, WORK, foreign_holder
from tests.storage.test_store import RECORD
from unlearn_ray.core.errors import CorruptObject, StoreDenied, StoreError, UnlearnRayError
from unlearn_ray.core.keys import canonical, content_key
from unlearn_ray.monitor.manifest import Manifest, manifests
from unlearn_ray.storage import records
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import FileEntry, Store, open_store

STUDY = {"method": {"name": "finetune", "revision": 1}}
LIKENESS = "00112233445566ff"
MANIFEST = Manifest(
    name="tiny",
    started=TIME,
    driver=ProcessIdentity("here", 1, "", ""),
    references=(),
    studies=(),
    tuning=(0,),
    runs=1,
    reference_scores=0,
    study_scores=0,
    budget_hours=None,
)
FOLDERS = (
    *("", "records/", "records/pretrain/", "leases/", "claims/", "claims/study/", "sweeps/"),
    *("studies/", f"studies/{LIKENESS}/", "rows/", "rows/s/", "rows-compacted/", "probes/"),
    *("checkpoints/", "checkpoints/step/", "artifacts/", "artifacts/pretrain/"),
    f"artifacts/pretrain/{RECORD.key}/",
)


def fill(store: Store) -> None:
    """One object of each kind."""
    files = store.put_artifact("pretrain", RECORD.key, {"model": b"weights"})
    store.complete(replace(RECORD, files=files))
    store.objects.write("leases/step.000001.json", foreign_holder())
    store.claims("study").take(3, {"rate": 0.1}, "driver", "tiny")
    store.write_sweep("tiny", json.dumps(asdict(MANIFEST)).encode())
    store.write_study(LIKENESS, content_key(STUDY), canonical(STUDY).encode())
    store.write_row("s/0", {"x": 0})
    store.compact()
    store.write_row("s/1", {"x": 1})
    store.save_checkpoint("step", 5, b"half done")
    store.identify()


def told(store: Store) -> dict[str, Any]:
    """What every reader of the store says."""
    again = open_store(store.url)
    return {
        "records": again.records("pretrain"),
        "record": again.read_records([("pretrain", RECORD.key)]),
        "leases": again.holders(),
        "claims": again.claims("study").newest(),
        "sweeps": manifests(again),
        "studies": again.studies(LIKENESS),
        "rows": again.read_rows().to_pylist(),
        "row": again.row("s/1"),
        "checkpoint": again.latest_checkpoint("step"),
        "left": again.clean(timedelta(0), remove=True).artifacts,
        "identity": again.identify(),
    }


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was told of damaged objects since the last time."""
    caplog.set_level(logging.WARNING)

    def warned() -> str:
        text = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return text

    return warned


def test_a_listing_leaves_out_what_is_not_ours(store: Store, warned: Callable[[], str]) -> None:
    fill(store)
    before = told(store)
    assert before["rows"] == [{"row": "s/0", "x": 0}, {"row": "s/1", "x": 1}]
    for folder in FOLDERS:
        surround(store, folder)
    # Copies of our own, as a sync tool calls them that met two.
    for name in list(store.objects.names("")):
        stem, _, suffix = name.rpartition(".")
        if name.startswith(("records/", "leases/", "claims/", "sweeps/", "studies/")):
            for mark in (" (1)", " (conflicted copy 2026-11-29)", ".sync-conflict-20261129", "~2"):
                put_stranger(store, f"{stem}{mark}.{suffix}", store.objects.read(name))
    assert told(store) == before
    store.check_readable()
    store.check_writable()
    store.remove_leftovers()
    assert told(store) == before
    assert warned() == ""
    for folder in FOLDERS:
        assert all(is_there(store, folder + name) for name in IN_A_FOLDER if folder + name)


DAMAGES: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"kind": "pretrain", ',
    "a list": b"[]",
    "of no fields": b"{}",
    "no UTF-8": b'{"\xff\xfe": 1}',
    "binary": bytes(range(256)),
    "deep": b'{"config": ' + b"[" * 100_000,
    "a huge number": b'{"counter": ' + b"9" * 5_000 + b"}",
    "NaN": b"NaN",
    "a word": b'"word"',
}

OBJECTS = {
    "record": f"records/pretrain/{RECORD.key}.json",
    "leases": "leases/step.000001.json",
    "claims": "claims/study/000003.000001.json",
    "sweeps": "sweeps/tiny.json",
    "studies": f"studies/{LIKENESS}/{content_key(STUDY)}.json",
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_damage_is_named_and_the_rest_goes_on(
    kind: str, store: Store, warned: Callable[[], str]
) -> None:
    fill(store)
    before = told(store)
    name, good = OBJECTS[kind], store.objects.read(OBJECTS[kind])
    # Parsers do not know where the bytes came from.
    few = ("empty", "of no fields", "deep")
    for what in DAMAGES if isinstance(store.objects, LocalFolder) else few:
        data = DAMAGES[what]
        store.objects.write(name, data)
        after = told(store)
        assert not after.pop(kind), what
        assert after == {key: value for key, value in before.items() if key != kind}, what
        (line,) = warned().splitlines()
        assert name in line
        assert "delete" in line
        assert len(line) < 600
    store.objects.write(name, good)
    assert told(store) == before


def changed(kind: str, store: Store, changes: dict[str, Any]) -> None:
    body = json.loads(store.objects.read(OBJECTS[kind]))
    for path, value in changes.items():
        place, *rest = path.split(".")
        where = body
        while rest:
            where, place, rest = where[place], rest[0], rest[1:]
        where[place] = value
    store.objects.write(OBJECTS[kind], json.dumps(body).encode())


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("record", {"seconds": "long"}, "seconds: "),
        ("record", {"seconds": float("nan")}, "seconds: "),
        ("record", {"workers": 2.5}, "workers: "),
        ("record", {"workers": 10**30}, "workers: "),
        ("record", {"workers": True}, "workers: "),
        ("record", {"created": "yesterday"}, "created: "),
        ("record", {"new": 1}, "new: "),
        ("record", {"key": "fedcba9876543210"}, "it belongs to pretrain fedcba9876543210"),
        ("record", {"files.model.name": "../../../etc/passwd"}, "is not a file of this step"),
        ("record", {"files.model.name": "/etc/passwd"}, "is not a file of this step"),
        (
            "record",
            {"files.model.name": "artifacts/pretrain/other/x"},
            "is not a file of this step",
        ),
        ("record", {"files.model.size": -1}, "files.model.size: "),
        ("record", {"files.model.sha256": "x"}, "files.model.sha256: "),
        ("leases", {"counter": "1"}, "counter: "),
        ("leases", {"lease_seconds": float("inf")}, "lease_seconds: "),
        ("leases", {"lease_seconds": -1}, "lease_seconds: "),
        ("leases", {"seen": ""}, "seen: "),
        ("leases", {"seen": "2026-01-01T00:00:00"}, "seen: "),
        ("leases", {"process.pid": 2**70}, "process.pid: "),
        ("leases", {"process.pid": -1}, "process.pid: "),
        ("leases", {"process": None}, "process: "),
        ("leases", {"work.kind": "../../records"}, "work.kind: "),
        ("leases", {"work.new": 1}, "work.new: "),
        ("claims", {"driver": "../x"}, "driver"),
        ("claims", {"sweep": "a/b"}, "sweep: "),
        ("claims", {"generation": 7}, "it says generation 7"),
        ("sweeps", {"started": 3}, "started: "),
        ("sweeps", {"driver.pid": "1"}, "driver.pid: "),
        ("sweeps", {"tuning": [-1]}, "tuning.0: "),
        ("sweeps", {"budget_hours": 0}, "budget_hours: "),
        ("sweeps", {"studies": [{"kind": "m", "key": "../x", "name": "m"}]}, "studies.0.key: "),
        ("sweeps", {"references": [{"kind": "a/b", "key": "k", "name": ""}]}, "references.0.kind:"),
        ("studies", {"method.revision": 2}, "it was altered"),
    ],
)
def test_wrong_types_values_and_names_are_damage(
    kind: str, changes: dict[str, Any], said: str, local_store: Store, warned: Callable[[], str]
) -> None:
    fill(local_store)
    changed(kind, local_store, changes)
    assert not told(local_store)[kind]
    assert said in warned()


def test_many_damaged_objects_are_five_lines(local_store: Store, warned: Callable[[], str]) -> None:
    for number in range(40):
        local_store.objects.write(f"leases/step{number}.000001.json", b"{")
    assert local_store.holders() == {}
    lines = warned().splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("35 more objects")
    assert local_store.holders() == {}
    assert warned() == ""  # it was said


def test_what_a_records_result_lacks_is_damage() -> None:
    record = replace(RECORD, result={"values": {"accuracy": "high"}, "seconds": 1})
    with pytest.raises(CorruptObject, match=r"0123456789abcdef\.json.*result\.device: there is"):
        record.value("device", str)
    with pytest.raises(CorruptObject, match=r"result\.values: it is not a dict"):
        record.value("values", dict[str, float])
    assert record.value("seconds", float) == 1


def test_a_file_of_another_step_is_not_read(local_store: Store) -> None:
    """A record that was tampered with names a file outside."""
    secret = Path(local_store.url).parent / "secret"
    secret.write_bytes(b"secret")
    entry = FileEntry("../secret", 6, "0" * 64)
    data = records.to_bytes(replace(RECORD, files={"model": entry}))
    local_store.objects.write(OBJECTS["record"], data)
    with pytest.raises(CorruptObject, match=r"'\.\./secret' is not a file of this step; delete"):
        local_store.record("pretrain", RECORD.key)
    with pytest.raises(CorruptObject, match="not a valid object name"):
        local_store.read_artifact(replace(RECORD, files={"model": entry}), "model")


# A damaged lease or claim stops nobody


@pytest.mark.parametrize("damage", ["empty", "deep", "a list"])
def test_a_damaged_lease_is_taken_over_once_it_was_silent(store: Store, damage: str) -> None:
    waiting = open_store(store.url, lease_seconds=0.5)
    store.objects.write("leases/step.000001.json", DAMAGES[damage])
    assert waiting.lease("step", WORK) is None
    assert not waiting.free("step", WORK)
    assert not waiting.driver_has_ended("step")
    begun = time.monotonic()
    while (lease := waiting.lease("step", WORK)) is None:
        assert time.monotonic() - begun < 60
        time.sleep(0.1)
    assert time.monotonic() - begun > 0.3
    assert lease.generation == 2
    lease.check()
    assert lease.earlier_seconds() == 0
    lease.finish()
    assert store.objects.names("leases/") == []


def test_a_damaged_claim_counts_as_given_back(store: Store, warned: Callable[[], str]) -> None:
    claims = store.claims("study")
    first = claims.take(3, {"rate": 0.1}, "driver-a", "tiny")
    assert claims.take_over(3, first, "driver-b", "tiny")
    store.objects.write("claims/study/000003.000002.json", b"{")
    (left,) = store.claims("study").newest().values()
    assert (left.point, left.driver, left.generation) == ({"rate": 0.1}, "", 2)
    assert claims.later({3: first}) == {3: left}
    assert claims.take(3, {"rate": 0.2}, "driver-c", "tiny") == left
    assert claims.take_over(3, left, "driver-c", "tiny")
    assert claims.newest_of(3).driver == "driver-c"
    # Where no claim of it can be read, whoever comes claims it with its own point.
    for generation in (1, 2, 3):
        store.objects.write(f"claims/study/000003.{generation:06d}.json", b"{")
    assert store.claims("study").newest() == {}
    mine = claims.take(3, {"rate": 0.3}, "driver-d", "tiny")
    assert (mine.point, mine.driver, mine.generation) == ({"rate": 0.3}, "driver-d", 4)
    assert "claims/study/000003.000001.json" in warned()


# Files that are no files


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


def test_links_out_of_the_store_are_not_followed(
    local_store: Store, outside: Path, warned: Callable[[], str]
) -> None:
    fill(local_store)
    folder = Path(local_store.url)
    (folder / "records/pretrain/aaaaaaaaaaaaaaaa.json").symlink_to(outside / "secret")
    (folder / "leases/link.000001.json").symlink_to(outside / "secret")
    (folder / "rows/linked").symlink_to(outside)
    (folder / "artifacts/linked").symlink_to(outside)
    for name in ("rows/linked/secret", "artifacts/linked/secret"):
        for act in (
            lambda name=name: local_store.objects.read(name),
            lambda name=name: local_store.objects.write(name, b""),
            lambda name=name: local_store.objects.create(name, b""),
            lambda name=name: local_store.objects.delete(name),
            lambda name=name: local_store.objects.names(f"{name}/"),
        ):
            with pytest.raises(CorruptObject, match="a symbolic link leads out of the store"):
                act()
    with pytest.raises(CorruptObject, match="not a regular file"):
        local_store.record("pretrain", "a" * 16)
    assert set(local_store.holders()) == {"step"}
    assert "leases/link.000001.json" in warned()
    assert [row["x"] for row in local_store.read_rows().to_pylist()] == [0, 1]
    assert (outside / "secret").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_the_stores_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = open_store(str(tmp_path / "link" / "store"))
    fill(store)
    assert set(told(store)["leases"]) == {"step"}


@pytest.mark.timeout(60)
def test_pipes_sockets_and_endless_files(local_store: Store, warned: Callable[[], str]) -> None:
    fill(local_store)
    folder = Path(local_store.url)
    os.mkfifo(folder / "leases/pipe.000001.json")
    os.mkfifo(folder / "rows/s/2.parquet")
    (folder / "sweeps/huge.json").touch()
    os.truncate(folder / "sweeps/huge.json", 1 << 40)  # it has holes alone
    (folder / "leases/loop.000001.json").symlink_to("loop.000001.json")
    assert set(local_store.holders()) == {"step"}
    assert set(manifests(local_store)) == {"tiny"}
    assert local_store.read_rows().num_rows == 2
    said = warned()
    for name in ("leases/pipe", "leases/loop", "rows/s/2.parquet", "sweeps/huge"):
        assert name in said
    with pytest.raises(UnlearnRayError, match="not a regular file"):
        local_store.objects.read("leases/pipe.000001.json")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(check: Callable[[], None]) -> None:
    """Run a check in a process without root's rights, where this one has them."""
    if os.getuid() != 0:
        check()
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            check()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_may_not_be_read_is_named(open_folder: Path) -> None:
    store = open_store(str(open_folder / "store"))
    fill(store)
    secret = Path(store.url) / "leases/secret.000001.json"
    secret.write_bytes(foreign_holder())
    secret.chmod(0)
    (Path(store.url) / "sweeps/tiny.json").chmod(0)

    def check() -> None:
        log: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: log.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("unlearn_ray").addHandler(handler)
        reading = open_store(store.url)
        assert set(reading.holders()) == {"step"}
        assert any("secret.000001.json: Permission denied; allow" in line for line in log)
        # Where nothing at all may be read, that is the store's fault.
        with pytest.raises(StoreDenied, match="Permission denied"):
            manifests(reading)
        with pytest.raises(StoreError, match="Permission denied"):
            reading.lease("secret", WORK)

    as_nobody(check)
