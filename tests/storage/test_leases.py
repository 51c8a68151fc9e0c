"""Leases over both kinds of object store, with real processes that die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from unlearn_ray.core.errors import CorruptObject, LeaseLost
from unlearn_ray.storage.leases import Lease
from unlearn_ray.storage.store import Store, open_store

_HOLDER = """
import sys, time
from unlearn_ray.core.errors import LeaseLost
from unlearn_ray.storage.store import open_store
lease = open_store(sys.argv[1], lease_seconds=float(sys.argv[2])).lease("step")
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
        lease = store.lease("step")
        if lease is not None:
            return lease, time.monotonic() - start
        time.sleep(0.02)
    return None, seconds


def foreign_holder(**changes: Any) -> bytes:
    process = {"host": "elsewhere", "pid": 1, "machine": "another boot", "started": "1"}
    body = {"process": process, "since": "2026-01-01T00:00:00+00:00", "token": "t"}
    return json.dumps({**body, "lease_seconds": 0.5, "counter": 0, **changes}).encode()


def test_one_holder_at_a_time(store_url: str) -> None:
    first, second = open_store(store_url), open_store(store_url)
    with first.lease("step") as lease:  # type: ignore[union-attr]
        lease.check()
        assert second.lease("step") is None
        assert first.lease("step") is None
        holder = second.holder("step")
        assert holder is not None
        assert str(holder.process.pid) in str(holder)
        with second.lease("step/below"), second.lease("other"):  # type: ignore[union-attr]
            pass
    assert second.holder("step") is None
    again = second.lease("step")
    assert again is not None
    assert again.generation == 2
    again.release()
    again.release()


def test_of_eight_takers_one_wins(store_url: str) -> None:
    barrier = threading.Barrier(8)
    stores = [open_store(store_url) for _ in range(8)]

    def take(store: Store) -> Lease | None:
        barrier.wait()
        return store.lease("step")

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
    assert store.lease("step") is None
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


def test_the_stale_holder_meets_the_newer_generation(store: Store) -> None:
    stale = store.lease("step")
    assert stale is not None
    assert store.objects.create("leases/step/000002.json", foreign_holder())
    with pytest.raises(LeaseLost, match="taken over by process 1 on elsewhere"):
        stale.check()
    stale.release()
    assert open_store(store.url).lease("step") is None  # the newer one is still held


@pytest.mark.parametrize("since", ["1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_wall_clocks_do_not_matter(store: Store, since: str) -> None:
    watcher = open_store(store.url, lease_seconds=0.5)
    for counter in range(8):  # 1.2 s in which the heartbeat never rests for 0.5 s
        data = foreign_holder(since=since, counter=counter)
        store.objects.write("leases/step/000001.json", data)
        assert watcher.lease("step") is None
        time.sleep(0.15)
    lease, seconds = poll(watcher, 5)
    assert lease is not None
    assert seconds >= 0.3
    lease.release()


def test_the_holder_says_how_patient_others_must_be(local_store: Store) -> None:
    local_store.objects.write("leases/step/000001.json", foreign_holder(lease_seconds=60))
    assert poll(open_store(local_store.url, lease_seconds=0.1), 0.8) == (None, 0.8)


def test_a_holder_that_cannot_write_its_heartbeat_stops(tmp_path: Path) -> None:
    lease = open_store(str(tmp_path / "store"), lease_seconds=0.4).lease("step")
    assert lease is not None
    time.sleep(0.8)
    lease.check()
    (tmp_path / "store" / "leases").rename(tmp_path / "gone")
    (tmp_path / "store" / "leases").write_bytes(b"")
    time.sleep(0.8)
    with pytest.raises(LeaseLost, match="no heartbeat written"):
        lease.check()
    lease.release()  # cannot be told to the store, and is no error


def test_generations_are_never_used_twice(local_store: Store) -> None:
    for generation in range(1, 4):
        with local_store.lease("step") as lease:  # type: ignore[union-attr]
            assert lease.generation == generation
    names = local_store.objects.names("leases/step/")
    assert names == [f"leases/step/{generation:06d}.json" for generation in range(1, 4)]


def test_a_damaged_lease(local_store: Store) -> None:
    local_store.objects.write("leases/step/000001.json", b"{")
    with pytest.raises(CorruptObject, match=r"leases/step/000001.json.*delete"):
        local_store.lease("step")


def test_a_free_lease_costs_two_requests(local_store: Store) -> None:
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(local_store.objects, name)

    lease = Store(Counting(), 30.0).lease("step")  # type: ignore[arg-type]
    assert lease is not None
    assert calls == ["names", "create"]
    lease.release()
