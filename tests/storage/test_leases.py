"""Leases over both kinds of object store, with real processes that die."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.storage.test_store import RECORD
from unlearn_ray.core.errors import LeaseLost
from unlearn_ray.storage.leases import Lease
from unlearn_ray.storage.store import Store, Work, open_store

# Seconds: of leases whose holders are meant to be silent.
SHORT = 0.8
TIME = "2026-01-01T00:00:00+00:00"
WORK = Work("unlearn", "unlearn by neggrad (seed 0), trial 4", "tiny")

_HOLDER = """
import sys, time
from unlearn_ray.core.errors import LeaseLost
from unlearn_ray.storage.store import Work, open_store
lease = open_store(sys.argv[1], lease_seconds=float(sys.argv[2])).lease("step", Work("unlearn"))
print("held", flush=True)
sys.stdin.readline()
try:
    lease.check()
    print("still mine", flush=True)
except LeaseLost as lost:
    print(lost, flush=True)
"""


@pytest.fixture
def start_holder(store_url: str) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """Starts another process that holds the lease `step`."""
    started = []

    def start(seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, store_url, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def poll(store: Store, seconds: float) -> tuple[Lease | None, float]:
    """Ask for the lease until it comes; also how long that took."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        lease = store.lease("step", WORK)
        if lease is not None:
            return lease, time.monotonic() - start
        time.sleep(0.02)
    return None, seconds


def foreign_holder(**changes: Any) -> bytes:
    process = {"host": "elsewhere", "pid": 1, "machine": "another boot", "started": "1"}
    work = {"kind": "unlearn", "name": "", "sweep": ""}
    body = {"work": work, "process": process, "since": TIME, "seen": TIME, "token": "t"}
    return json.dumps({**body, "lease_seconds": 0.5, "counter": 0, **changes}).encode()


def test_one_holder_at_a_time(store_url: str) -> None:
    first, second = open_store(store_url), open_store(store_url)
    with first.lease("step", WORK) as lease:
        lease.check()
        assert second.lease("step", WORK) is None
        assert first.lease("step", WORK) is None
        holder = second.holders()["step"]
        assert str(holder.process.pid) in str(holder)
        assert (holder.work, holder.released) == (WORK, False)
        with second.lease("step-below", WORK), second.lease("other", WORK):
            pass
    assert second.holders()["step"].released
    again = second.lease("step", WORK)
    assert again is not None
    assert again.generation == 2
    again.release()
    again.release()


def test_of_eight_takers_one_wins(store_url: str) -> None:
    barrier = threading.Barrier(8)
    stores = [open_store(store_url) for _ in range(8)]

    def take(store: Store) -> Lease | None:
        barrier.wait()
        return store.lease("step", WORK)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            won = [lease for lease in pool.map(take, stores) if lease]
            assert len(won) == 1
            won[0].release()


def test_a_killed_holder_is_replaced_at_once(
    store_url: str, start_holder: Callable[[float], subprocess.Popen[str]]
) -> None:
    process = start_holder(60)
    store = open_store(store_url, lease_seconds=60)
    assert store.lease("step", WORK) is None
    process.send_signal(signal.SIGKILL)
    lease, seconds = poll(store, 10)  # the process is a zombie still
    assert lease is not None
    assert seconds < 5
    lease.release()


def test_a_silent_holder_is_replaced_and_told(
    store_url: str, start_holder: Callable[[float], subprocess.Popen[str]]
) -> None:
    process = start_holder(1.0)
    store = open_store(store_url, lease_seconds=1.0)
    assert poll(store, 1.6) == (None, 1.6)  # it is alive, and its heartbeat is seen
    process.send_signal(signal.SIGSTOP)
    lease, seconds = poll(store, 10)
    assert lease is not None
    assert seconds >= 0.7
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("lease of step: ")
    lease.check()
    lease.release()


class Stalling:
    """An object store whose next heartbeat takes longer than its lease lasts."""

    def __init__(self, store: Store) -> None:
        self.objects = store.objects
        self.stalled = threading.Event()

    def __getattr__(self, name: str) -> Any:
        if name == "write" and not self.stalled.is_set():
            time.sleep(1.5 * SHORT)
            self.stalled.set()
        return getattr(self.objects, name)


def stale_lease(store: Store) -> Lease:
    """Of a holder that stood still for longer than its lease lasts, and goes on."""
    stalling = Stalling(store)
    lease = Store(stalling, SHORT).lease("step", WORK)
    assert lease is not None
    assert stalling.stalled.wait(10)
    time.sleep(SHORT)  # and a heartbeat in time
    return lease


def test_the_stale_holder_meets_the_newer_generation(store: Store) -> None:
    stale = stale_lease(store)
    stale.check()  # nobody took over
    assert store.objects.create("leases/step.000002.json", foreign_holder())
    with pytest.raises(LeaseLost, match="taken over by process 1 on elsewhere"):
        stale.check()
    stale.release()
    assert open_store(store.url).lease("step", WORK) is None  # the newer one is still held


def test_the_stale_holder_writes_after_the_others_deletion(store: Store) -> None:
    stale = stale_lease(store)
    other = open_store(store.url, lease_seconds=SHORT)
    assert store.objects.create("leases/step.000002.json", foreign_holder(released=True))
    newer, _ = poll(other, 10)
    assert newer is not None
    newer.finish()
    time.sleep(SHORT)
    assert store.objects.names("leases/") == ["leases/step.000001.json"]  # a heartbeat
    stale.check()  # there is no newer generation that could tell
    stale.finish()
    assert store.objects.names("leases/") == []


def test_an_ended_step_leaves_no_lease(store: Store) -> None:
    for generation in (1, 2, 3):
        lease = store.lease("step", WORK)
        assert lease is not None
        assert lease.generation == generation
        if generation < 3:
            lease.release()
    with store.lease("steps", WORK):
        lease.finish()
        lease.finish()
        lease.release()
        assert store.objects.names("leases/") == ["leases/steps.000001.json"]
    assert "step" not in store.holders()
    again = store.lease("step", WORK)
    assert again is not None
    assert again.generation == 1
    again.finish()


def test_a_lease_that_ends_while_it_is_looked_at(local_store: Store) -> None:
    """Its object is listed, and gone when it is read."""
    held = local_store.lease("step", WORK)
    assert held is not None

    class Ending:
        def __getattr__(self, name: str) -> Any:
            if name == "read":
                held.finish()
            return getattr(local_store.objects, name)

    other = Store(Ending(), 30.0)
    assert other.lease("step", WORK) is None
    lease = other.lease("step", WORK)
    assert lease is not None
    assert lease.generation == 1
    lease.finish()


@pytest.mark.parametrize("left", [(1,), (2,), (1, 2), (3,)])
def test_what_a_killed_holder_left_of_a_complete_step_goes(
    store: Store, left: tuple[int, ...]
) -> None:
    assert store.complete(replace(RECORD, kind="unlearn", key="step"))
    store.save_checkpoint("step", 5, b"left, too")
    for generation in left:
        store.objects.create(f"leases/step.{generation:06d}.json", foreign_holder())
    with store.lease("other", WORK):
        store.remove_leftovers()
        assert store.objects.names("leases/") == ["leases/other.000001.json"]
        assert store.latest_checkpoint("step") is None


@pytest.mark.parametrize("left", [(1,), (2,), (1, 2), (3,)])
def test_leftovers_end_like_any_lease_where_the_record_is_gone(
    local_store: Store, left: tuple[int, ...]
) -> None:
    """A person deletes a damaged record, and its step is to be run anew."""
    for generation in left:
        local_store.objects.create(f"leases/step.{generation:06d}.json", foreign_holder())
    lease, _ = poll(open_store(local_store.url, lease_seconds=SHORT), 10)
    assert lease is not None
    lease.check()
    lease.finish()


def test_what_earlier_holders_took_is_known(store: Store) -> None:
    for generation, counter in ((1, 8), (2, 4)):
        taken = foreign_holder(counter=counter, released=True)
        store.objects.create(f"leases/step.{generation:06d}.json", taken)
    with store.lease("step", WORK) as lease:
        assert lease.generation == 3
        assert lease.earlier_seconds() == (8 + 4) * 0.5 / 4
        store.objects.delete("leases/step.000001.json")
        assert lease.earlier_seconds() == 4 * 0.5 / 4
        store.objects.write("leases/step.000002.json", b"{")
        assert lease.earlier_seconds() == 0  # unknown, and no error


def test_a_damaged_lease_is_no_holder(local_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    local_store.objects.write("leases/damaged.000001.json", b"{")
    local_store.objects.write("leases/sound.000001.json", foreign_holder())
    with caplog.at_level(logging.WARNING):
        assert list(local_store.holders()) == ["sound"]
    assert "leases/damaged.000001.json" in caplog.text


@pytest.mark.parametrize("since", ["1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_wall_clocks_do_not_matter(store: Store, since: str) -> None:
    watcher = open_store(store.url, lease_seconds=0.5)
    for counter in range(8):  # 1.2 s in which the heartbeat never rests for 0.5 s
        data = foreign_holder(since=since, counter=counter)
        store.objects.write("leases/step.000001.json", data)
        assert watcher.lease("step", WORK) is None
        time.sleep(0.15)
    lease, seconds = poll(watcher, 5)
    assert lease is not None
    assert seconds >= 0.3
    lease.release()


def test_the_holder_says_how_patient_others_must_be(local_store: Store) -> None:
    local_store.objects.write("leases/step.000001.json", foreign_holder(lease_seconds=60))
    assert poll(open_store(local_store.url, lease_seconds=0.1), 0.8) == (None, 0.8)


def test_a_holder_without_heartbeat_goes_on_until_it_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The store was away for longer than the lease lasts; then it is back."""
    lease = open_store(str(tmp_path / "store"), lease_seconds=0.4).lease("step", WORK)
    assert lease is not None
    time.sleep(0.8)
    lease.check()
    (tmp_path / "store" / "leases").rename(tmp_path / "gone")
    (tmp_path / "store" / "leases").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        time.sleep(0.8)
    assert "lease of step: no heartbeat" in caplog.text
    lease.check()
    (tmp_path / "store" / "leases").unlink()
    (tmp_path / "gone").rename(tmp_path / "store" / "leases")
    lease.check()
    store = open_store(str(tmp_path / "store"))
    assert store.objects.create("leases/step.000002.json", foreign_holder())
    with pytest.raises(LeaseLost, match="taken over by process 1 on elsewhere"):
        lease.check()
    (tmp_path / "store" / "leases").rename(tmp_path / "gone")
    (tmp_path / "store" / "leases").write_bytes(b"")
    lease.release()  # cannot be told to the store, and is no error


def test_a_step_that_is_run_once_costs_a_put_and_a_delete(local_store: Store) -> None:
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(local_store.objects, name)

    lease = Store(Counting(), 30.0).lease("step", WORK)
    assert lease is not None
    lease.check()
    assert lease.earlier_seconds() == 0
    lease.finish()
    assert calls == ["create", "delete"]
