"""What killed processes leave is found and removed, and nothing else, whoever runs meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.azure_server import ask
from tests.steps.test_once import ACCOUNT, Number, upload
from tests.storage.test_leases import WORK, foreign_holder
from tests.storage.test_store import RECORD
from tests.tiny import ensure
from unlearn_ray import results
from unlearn_ray.core.errors import CorruptObject, MissingObject
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import Done, Uploaded
from unlearn_ray.storage.azure import AzureContainer
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.s3 import S3Bucket
from unlearn_ray.storage.store import Store, open_store

NOW = timedelta(0)
KEY = RECORD.key
OTHER = "fedcba9876543210"


def artifacts(store: Store) -> set[str]:
    return set(store.objects.names("artifacts/"))


def test_what_a_record_names_stays(store: Store) -> None:
    lost = store.put_artifact("pretrain", KEY, {"model": b"of one that was killed", "log": b"x"})
    kept = store.put_artifact("pretrain", KEY, {"model": b"weights", "log": b""})
    store.complete(replace(RECORD, files=kept))
    unrecorded = store.put_artifact("unlearn", OTHER, {"model": b"of another"})
    store.save_checkpoint(KEY, 5, b"written by one that stood still")
    store.save_checkpoint(OTHER, 5, b"to go on from")
    before = set(store.objects.names(""))
    assert store.clean(remove=True).size == 0  # it is younger than a day
    dry = store.clean(NOW, remove=False)
    assert set(store.objects.names("")) == before
    assert store.clean(timedelta(hours=1), remove=True).size == 0
    found = store.clean(NOW, remove=True)
    assert (dry.size, dry.held) == (found.size, 0)
    assert {entry.name for entry in found.artifacts} == {
        entry.name for files in (lost, unrecorded) for entry in files.values()
    }
    assert found.size == 22 + 1 + 10 + 31
    assert artifacts(store) == {entry.name for entry in kept.values()}
    assert store.latest_checkpoint(KEY) is None
    assert store.latest_checkpoint(OTHER) == (5, b"to go on from")
    assert store.clean(NOW, remove=True).size == 0


def test_what_somebody_works_on_stays(store: Store) -> None:
    working = open_store(store.url, lease_seconds=2.0)
    with working.lease(KEY, WORK):
        files = store.put_artifact("unlearn", KEY, {"model": b"to be recorded"})
        cleaning = open_store(store.url, lease_seconds=2.0)
        assert cleaning.clean(NOW, remove=False).held == 1
        found = cleaning.clean(NOW, remove=True)
        assert (found.size, found.held) == (0, 1)
        assert artifacts(store) == {files["model"].name}
    assert open_store(store.url).clean(NOW, remove=True).held == 0
    assert artifacts(store) == set()


def test_what_a_silent_holder_left_goes_and_it_is_told(store: Store) -> None:
    files = store.put_artifact("unlearn", KEY, {"model": b"never recorded"})
    store.objects.create(f"leases/{KEY}.000001.json", foreign_holder())
    found = open_store(store.url, lease_seconds=1.0).clean(NOW, remove=True)
    assert [entry.name for entry in found.artifacts] == [files["model"].name]
    assert f"leases/{KEY}.000002.json" in store.objects.names("leases/")
    assert store.holders()[KEY].released


def test_where_a_record_is_damaged_all_stays(store: Store) -> None:
    store.put_artifact("pretrain", KEY, {"model": b"weights"})
    store.objects.write(f"records/pretrain/{KEY}.json", b"{")
    before = artifacts(store)
    assert store.clean(NOW, remove=True).size == 0
    assert artifacts(store) == before


def test_unfinished_files_and_uploads_go(store: Store) -> None:
    objects = store.objects
    if isinstance(objects, S3Bucket):
        client, key = objects._connection.opened().client, f"{objects.prefix}/artifacts/x"
        named = {"Bucket": objects.bucket, "Key": key}

        def left() -> list[str]:
            listed = client.list_multipart_uploads(Bucket=objects.bucket)
            return [each["Key"] for each in listed.get("Uploads", ())]

        upload = client.create_multipart_upload(**named)["UploadId"]
        store.clean(NOW, remove=True)
        assert left() == [key]  # it may go on
        time.sleep(4.0)  # the server counts in seconds
        client.upload_part(**named, UploadId=upload, PartNumber=1, Body=b"x")
        objects.remove_unfinished(2.5, store.now())
        assert left() == [key]  # it has begun long ago, and goes on
        time.sleep(1.1)
        objects.remove_unfinished(0.0, store.now())
        assert left() == []
    elif isinstance(objects, AzureContainer):
        # Azure removes a block by itself, a week after it was sent.
        blob = f"{objects.container}/{objects.prefix}/artifacts/x"
        ask("PUT", str(objects.endpoint), blob, b"half", comp="block", blockid="AAAA")
        store.clean(NOW, remove=True)
        assert objects.names("") == []
        objects.write("artifacts/x", b"whole")
        assert objects.read("artifacts/x") == b"whole"
    else:
        assert isinstance(objects, LocalFolder)
        half, probe = (objects.folder / name for name in (".unfinished/half", f"probes/{0:032x}"))
        for path in (half, probe):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        store.clean(NOW, remove=True)
        assert half.exists()  # somebody may be writing it
        assert probe.exists()
        for path in (half, probe):
            os.utime(path, (time.time() - 3700,) * 2)
        assert [entry.size for entry in store.clean(NOW, remove=True).probes] == [4]
        assert not half.exists()
        assert not probe.exists()


@pytest.mark.timeout(120)
def test_beside_running_writers_no_record_loses_its_artifact(store_url: str) -> None:
    """Cleaners of any age, all the time; real steps, whose first attempts leave their uploads."""
    done = threading.Event()
    errors: list[BaseException] = []
    removed: list[int] = []
    lost: set[int] = set()
    lock = threading.Lock()

    def clean() -> None:
        while not done.is_set():
            found = open_store(store_url, lease_seconds=2.0).clean(NOW, remove=True)
            removed.append(len(found.artifacts))

    def write(writer: int) -> None:
        try:
            for seed in range(6):
                store = open_store(store_url, lease_seconds=2.0)

                def run(step: Step, store: Store = store, seed: int = seed) -> Uploaded:
                    with lock:
                        first = seed not in lost
                        lost.add(seed)
                    if first:
                        upload(step, store, "lost")
                        raise MissingObject("step", "killed after its upload", "run it again")
                    time.sleep(0.02)
                    made = upload(step, store, f"{writer}")
                    time.sleep(0.02)
                    return made

                for _ in range(2):
                    try:
                        ensure(Number(seed=seed), store, run, ACCOUNT)
                    except MissingObject:
                        continue
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for thread in (*threads, *cleaners):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in cleaners:
        thread.join()
    assert errors == []
    store = open_store(store_url)
    named = set()
    for seed in range(6):
        record = store.record("number", Number(seed=seed).key)
        assert record is not None
        assert store.read_artifact(record, "number") == b"1"
        named |= {entry.name for entry in record.files.values()}
    removed.append(len(store.clean(NOW, remove=True).artifacts))
    assert artifacts(store) == named
    assert sum(removed) >= 6


# One's own


def _stand_still(url: str, began: Path, go_on: Path, ended: Path) -> None:
    store = open_store(url, lease_seconds=1.0)

    def run(step: Step) -> Uploaded:
        made = upload(step, store, "stood still")
        began.touch()
        while not go_on.exists():
            time.sleep(0.01)
        return made

    done: Done = ensure(Number(seed=0), store, run, ACCOUNT)
    ended.write_text(f"{done.ran}")


def test_who_lost_the_lease_removes_what_it_uploaded(store_url: str, tmp_path: Path) -> None:
    began, go_on, ended = (tmp_path / name for name in ("began", "go-on", "ended"))
    sleeper = multiprocessing.get_context("spawn").Process(
        target=_stand_still, args=(store_url, began, go_on, ended)
    )
    sleeper.start()
    assert sleeper.pid is not None
    try:
        deadline = time.monotonic() + 60
        while not began.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(sleeper.pid, signal.SIGSTOP)
        store = open_store(store_url, lease_seconds=1.0)
        step = Number(seed=0)
        record = ensure(step, store, lambda s: upload(s, store, "took over"), ACCOUNT).record
        assert len(artifacts(store)) == 2
        go_on.touch()
        os.kill(sleeper.pid, signal.SIGCONT)
        sleeper.join(60)
    finally:
        sleeper.kill()
        sleeper.join()
    assert ended.read_text() == "False"
    assert artifacts(store) == {record.files["number"].name}


def test_who_is_told_of_another_while_it_runs_removes_its_upload(store: Store) -> None:
    """The lease is seen to be lost before the other has written its record."""
    working = open_store(store.url, lease_seconds=0.4)
    step = Number(seed=0)
    made: list[str] = []

    def run(step: Step) -> Uploaded:
        if made:
            return upload(step, store, "again")
        uploaded = upload(step, store, "first")
        made.append(uploaded.files["number"].name)
        taken = foreign_holder(released=True)
        store.objects.create(f"leases/{step.key}.000002.json", taken)
        time.sleep(0.2)
        # As if this process had stood still.
        for thread in threading.enumerate():
            if thread.name == f"lease {step.key}":
                beat = thread._target.__self__  # type: ignore[attr-defined]
                beat._was_silent = True
        return uploaded

    done = ensure(step, working, run, ACCOUNT)
    assert done.ran
    assert made[0] not in artifacts(store)
    assert artifacts(store) == {done.record.files["number"].name}


def test_an_upload_that_fails_half_way_leaves_nothing(local_store: Store) -> None:
    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(local_store.objects, name)

        def write(self, name: str, data: bytes) -> None:
            if name.endswith("second"):
                raise CorruptObject(name, "the disk is full", "free space")
            local_store.objects.write(name, data)

    failing = Store(Failing(), 30.0)  # type: ignore[arg-type]
    with pytest.raises(CorruptObject):
        failing.put_artifact("pretrain", KEY, {"first": b"1", "second": b"2"})
    assert artifacts(local_store) == set()


# The command


def test_the_command_says_how_much_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put_artifact("unlearn", KEY, {"model": b"x" * 2_500_000})
    assert results.main([store.url, "clean"]) == 0
    assert capsys.readouterr().err == "no leftovers older than 24 h\n"
    for arguments in (["--hours", "0"], ["--hours", "nan"]):
        with pytest.raises(SystemExit):
            results.main([store.url, "clean", *arguments])
        assert "write 24, or at least 1" in capsys.readouterr().err
    if isinstance(store.objects, LocalFolder):
        (name,) = artifacts(store)
        long_ago = time.time() - 2 * 3600
        os.utime(store.objects.folder / name, (long_ago, long_ago))
        assert results.main([store.url, "clean", "--hours", "1", "--dry-run"]) == 0
        said = "1 file of artifacts that no record names: 2.5 MB (2,500,000 bytes)\n"
        assert capsys.readouterr().err == f"would remove {said}"
        assert artifacts(store) == {name}
        assert results.main([store.url, "clean", "--hours", "1"]) == 0
        assert capsys.readouterr().err == f"removed {said}"
        assert artifacts(store) == set()
