"""Claims of trials, on a local folder and on a real S3 server."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import Claim, Store, Work, open_store

POINT = {"rate": 0.1, "name": "a", "epochs": 3, "flag": True, "none": None}


def again(store: Store, lease_seconds: float = 30.0) -> Store:
    """The same store, as another process would open it."""
    return open_store(store.url, lease_seconds=lease_seconds)


def test_whoever_is_first_fixes_the_point(store: Store) -> None:
    claims = store.claims("study")
    assert claims.newest() == {}
    mine = claims.take(3, POINT, "driver-a", "sweep")
    assert mine == Claim(POINT, "driver-a", "sweep", 1)
    other = again(store).claims("study").take(3, {**POINT, "rate": 0.2}, "driver-b", "sweep")
    assert other == mine
    assert store.claims("study").newest() == {3: mine}
    assert store.claims("stud").newest() == {}
    assert store.claims("other").newest() == {}


def test_one_of_many_takes_a_trial(store: Store) -> None:
    drivers = [f"driver-{number}" for number in range(8)]
    stores = [again(store) for _ in drivers]
    barrier = threading.Barrier(len(drivers))

    def take(driver: str, opened: Store) -> Claim:
        barrier.wait()
        return opened.claims("study").take(0, {"x": int(driver[7:])}, driver, "sweep")

    with ThreadPoolExecutor(len(drivers)) as pool:
        taken = list(pool.map(take, drivers, stores))
    assert len({claim.driver for claim in taken}) == 1
    assert taken[0].point == {"x": int(taken[0].driver[7:])}


def test_one_of_many_takes_over_and_keeps_the_point(store: Store) -> None:
    claims = store.claims("study")
    first = claims.take(0, POINT, "driver-gone", "sweep")
    with ThreadPoolExecutor(4) as pool:
        took = list(
            pool.map(lambda n: claims.take_over(0, first, f"driver-{n}", "other"), range(4))
        )
    assert sorted(took) == [False, False, False, True]
    newest = claims.newest()[0]
    assert newest == Claim(POINT, f"driver-{took.index(True)}", "other", 2)
    assert claims.newest([1, 2]) == {}


def test_a_trial_that_is_given_back_is_anybodys(store: Store) -> None:
    claims = store.claims("study")
    first = claims.take(0, POINT, "driver-a", "sweep")
    assert claims.later({0: first}) == {}
    claims.give_back(0, first)
    (left,) = claims.later({0: first}).values()
    assert left == claims.newest_of(0) == Claim(POINT, "", "sweep", 2)
    assert again(store).claims("study").take_over(0, left, "driver-b", "sweep")
    assert not claims.take_over(0, left, "driver-a", "sweep")
    assert claims.newest_of(1) is None


def test_a_driver_has_ended_when_it_says_so_or_is_silent(store: Store) -> None:
    quick = again(store, lease_seconds=2.0)
    lease, watcher = quick.start_driver("sweep"), again(store, lease_seconds=2.0)
    assert store.holders()[lease.key].work == Work("driver", "driver", "sweep")
    for _ in range(6):
        assert not watcher.driver_has_ended(lease.key)
        time.sleep(0.5)
    lease._end.set()  # its heartbeat stops, as that of a process that stands still
    seen = time.monotonic()
    while not watcher.driver_has_ended(lease.key):
        assert time.monotonic() - seen < 30
        time.sleep(0.25)
    assert time.monotonic() - seen >= 1.0
    ended = quick.start_driver("sweep")
    assert not watcher.driver_has_ended(ended.key)
    ended.finish()
    assert watcher.driver_has_ended(ended.key)
    assert watcher.driver_has_ended("driver-never")


def test_free_says_whether_another_process_may_take_a_lease(store: Store) -> None:
    work = Work("unlearn", "a step", "sweep")
    assert store.free("abc", work)
    lease = store.lease("abc", work)
    assert lease is not None
    assert not again(store).free("abc", work)
    lease.release()
    assert again(store).free("abc", work)
    second = again(store).lease("abc", work)
    assert second is not None
    assert second.generation == 2
    second.finish()
    assert again(store).free("abc", work)


def test_what_a_silent_holder_left_is_freed_for_whoever_comes(store: Store) -> None:
    work = Work("unlearn", "a step", "sweep")
    quick = again(store, lease_seconds=2.0)
    lease = quick.lease("abc", work)
    assert lease is not None
    lease._end.set()
    watcher, begun = again(store, lease_seconds=2.0), time.monotonic()
    while not watcher.free("abc", work):
        assert time.monotonic() - begun < 30
        time.sleep(0.25)
    assert time.monotonic() - begun >= 1.0
    taken = again(store).lease("abc", work)  # it has not watched, and takes it at once
    assert taken is not None
    assert taken.generation == 3
    taken.finish()


def test_drivers_that_have_ended_leave_nothing_for_long(store: Store) -> None:
    here = store.start_driver("sweep")
    dead, old, young = (replace(here._holder, token=name) for name in ("dead", "old", "young"))
    gone = replace(ProcessIdentity.here(), started="before")
    away = replace(gone, host="elsewhere", machine="another")
    day = datetime.now(UTC) - timedelta(hours=25)
    for name, holder in {
        "driver-dead": replace(dead, process=gone),
        "driver-old": replace(old, process=away, seen=day.isoformat(timespec="seconds")),
        "driver-young": replace(young, process=away),
    }.items():
        store.objects.write(f"leases/{name}.000001.json", json.dumps(asdict(holder)).encode())
    store.remove_leftovers()
    assert set(store.holders()) == {here.key, "driver-young"}
    here.finish()
