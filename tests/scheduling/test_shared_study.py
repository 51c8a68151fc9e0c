"""One study, many drivers: one point a trial, one truth a row, the search of one driver alone."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.simulation import Driver, Ran, alone, history, simulated, together
from unlearn_ray.config.sweep_schema import Search, Sweep
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.scheduling.shared_study import Assignment
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.history import TrialRecord, winner

TRIALS = 20
SEARCH = Search(trials=TRIALS, startup=4, keep=50)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return simulated(tmp_path, SEARCH)


@pytest.fixture
def expected(tmp_path: Path, sweep: Sweep) -> list[TrialRecord]:
    """The study by one driver, one trial at a time."""
    return alone(sweep, open_store(str(tmp_path / "alone")))


def check_one_point_each(store: Store) -> None:
    points: dict[int, set[str]] = {}
    seen: Counter[tuple[int, int]] = Counter()
    for row in store.read_rows().to_pylist():
        points.setdefault(row["trial"], set()).add(row["point"])
        seen[row["trial"], row["seed"]] += 1
    assert all(len(each) == 1 for each in points.values()), points
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("count", [2, 4])
def test_drivers_share_a_search(
    store_url: str, sweep: Sweep, expected: list[TrialRecord], count: int
) -> None:
    ran = Ran()
    together([Driver(sweep, store_url, ran, seed=seed) for seed in range(count)])
    store = open_store(store_url)
    assert history(sweep, store) == expected
    assert {trial.state for trial in expected} == {"complete", "stopped"}
    check_one_point_each(store)
    assert sorted(ran.started) == list(range(TRIALS))  # each by one driver
    assert set(Counter(ran.seeds).values()) == {1}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_drivers_change_nothing(
    store_url: str, sweep: Sweep, expected: list[TrialRecord], seed: int
) -> None:
    ran, drawn = Ran(), random.Random(seed)
    several = [Driver(sweep, store_url, ran, seed=number, seconds=0.1) for number in range(4)]

    def kill(drivers: list[Driver]) -> None:
        for driver in drawn.sample(drivers, 3):
            time.sleep(0.15 * drawn.random())
            driver.killed.set()

    together(several, kill)
    store = open_store(store_url)
    assert history(sweep, store) == expected
    check_one_point_each(store)
    # What the killed ones were at, two trials each, may have been started twice.
    assert TRIALS <= len(ran.started) <= TRIALS + 6


def test_it_goes_on_after_every_driver_was_killed(
    store_url: str, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    ran = Ran()
    for number in range(3):
        driver = Driver(sweep, store_url, ran, seed=number, seconds=0.05)
        threading.Timer(0.3, driver.killed.set).start()
        together([driver])
    together([Driver(sweep, store_url, ran)])
    assert history(sweep, open_store(store_url)) == expected


def test_what_one_cannot_run_another_does(
    store_url: str, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    ran = Ran()
    one = Driver(sweep, store_url, ran, refuses=(2,))
    together([one, Driver(sweep, store_url, ran, seed=1)])
    assert history(sweep, open_store(store_url)) == expected
    assert ran.started.count(2) <= 2


def test_drivers_that_cannot_run_each_a_trial_do_not_wait_for_each_other(
    store_url: str, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    ran, begun = Ran(), time.monotonic()
    both = [
        Driver(sweep, store_url, ran, seed=n, seconds=0.2, lease_seconds=30, refuses=refused)
        for n, refused in enumerate([(2, 4), (4, 2)])
    ]
    together(both)
    assert time.monotonic() - begun < 25  # not for a lease's time
    assert len(history(sweep, open_store(store_url))) < TRIALS
    together([Driver(sweep, store_url, ran)])
    assert history(sweep, open_store(store_url)) == expected


def test_a_sweep_that_wants_fewer_trials_ranks_no_more(
    tmp_path: Path, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    url = str(tmp_path / "store")
    fewer = replace(sweep, name="fewer", search=replace(SEARCH, trials=7))
    together([Driver(fewer, url, Ran()), Driver(sweep, url, Ran(), seed=1)])
    store = open_store(url)
    assert history(fewer, store) == expected[:7]
    assert history(sweep, store) == expected


def test_sweeps_of_two_names_share_a_study(
    tmp_path: Path, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    url, ran = str(tmp_path / "store"), Ran()
    other = replace(sweep, name="other")
    together([Driver(sweep, url, ran), Driver(other, url, ran, seed=1)])
    assert sorted(ran.started) == list(range(TRIALS))
    store = open_store(url)
    assert history(sweep, store) == history(other, store) == expected
    names = Counter(row["sweep"] for row in store.read_rows().to_pylist())
    assert set(names) == {"simulated", "other"}


def test_times_change_no_suggestion_and_no_stop(
    tmp_path: Path, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    for seed in range(3):
        url = str(tmp_path / f"store-{seed}")
        together([Driver(sweep, url, Ran(), seed=seed, concurrent=4, seconds=0.05)])
        assert history(sweep, open_store(url)) == expected


def test_the_window_is_what_a_trial_may_know(tmp_path: Path) -> None:
    found = {}
    for window in (1, 2, 8):
        sweep = simulated(tmp_path, replace(SEARCH, window=window))
        url, ran = str(tmp_path / f"window-{window}"), Ran()
        driver = Driver(sweep, url, ran, concurrent=8, seconds=0.02)
        assert _most_at_a_time(driver, window) == window
        found[window] = history(sweep, open_store(url))
    points = {window: [trial.point for trial in trials] for window, trials in found.items()}
    # With a window of 8 the sampler still knows less than four trials when trial 10 begins.
    assert points[1][:4] == points[2][:4] == points[8][:4]
    assert points[8][:11] != points[1][:11]
    assert points[1] != points[2]


def _most_at_a_time(driver: Driver, expected: int) -> int:
    """The first trials wait for each other, on however busy a machine."""
    most, running, lock, reached = 0, 0, threading.Lock(), threading.Event()
    trial = driver._trial

    def counted(assignment: Assignment) -> Any:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
            if most == expected:
                reached.set()
        reached.wait(30)
        try:
            return trial(assignment)
        finally:
            with lock:
                running -= 1

    driver._trial = counted  # type: ignore[assignment, method-assign]
    driver.run()
    return most


def test_another_machines_points_are_taken_as_they_are(
    tmp_path: Path, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    """A sampler that computes a last digit differently follows the points that were claimed."""
    url = str(tmp_path / "store")
    store = open_store(url)
    claims = store.claims(_key(sweep))
    elsewhere = {**expected[0].point, "weight_decay": expected[0].point["weight_decay"] + 1e-15}
    claims.take(0, elsewhere, "driver-gone", sweep.name)
    together([Driver(sweep, url, Ran())])
    first, *others = history(sweep, store)
    assert first.point == elsewhere
    assert [trial.point for trial in others[:3]] == [trial.point for trial in expected[1:4]]


def test_more_trials_go_on_where_fewer_ended(
    tmp_path: Path, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    url = str(tmp_path / "store")
    for trials in (7, TRIALS):
        together([Driver(replace(sweep, search=replace(SEARCH, trials=trials)), url, Ran())])
    assert history(sweep, open_store(url)) == expected


def test_an_array_of_drivers_is_done_sooner(tmp_path: Path) -> None:
    search = Search(trials=24, startup=4, keep=50, window=8)
    seconds = {}
    for count in (1, 4):
        sweep, url, ran = simulated(tmp_path, search), str(tmp_path / f"of-{count}"), Ran()
        started = time.monotonic()
        together(
            [
                Driver(sweep, url, ran, seed=seed, concurrent=2, seconds=1.0, lease_seconds=30)
                for seed in range(count)
            ]
        )
        seconds[count] = time.monotonic() - started
        assert sorted(ran.started) == list(range(24))
    assert seconds[4] < 0.75 * seconds[1], seconds


def test_the_search_beats_its_random_start(tmp_path: Path) -> None:
    trials = alone(
        simulated(tmp_path, replace(SEARCH, trials=40)), open_store(str(tmp_path / "store"))
    )
    best = winner(trials)
    start = winner(trials[:7])  # 4 that are known, and 3 more in the window
    assert best is not None
    assert start is not None
    assert best.score < start.score


def _key(sweep: Sweep) -> str:
    from unlearn_ray.studies.study import study_key

    return study_key(sweep, sweep.studies[0])


def test_damaged_claims_change_nothing(
    store_url: str, sweep: Sweep, expected: list[TrialRecord]
) -> None:
    store = open_store(store_url)
    claims = store.claims(_key(sweep))
    for trial in expected[:6]:
        claims.take(trial.number, trial.point, "driver-gone", sweep.name)
        name = f"claims/{_key(sweep)}/{trial.number:06d}.000001.json"
        store.objects.write(name, [b"", b"{", b"[" * 10_000][trial.number % 3])
    together([Driver(sweep, store_url, Ran(), seed=seed) for seed in range(2)])
    assert history(sweep, store) == expected
    check_one_point_each(store)


@pytest.mark.parametrize("point", [{}, {"other": 1.0}, {"learning_rate": "fast"}])
def test_a_claim_of_another_hand_is_named(
    point: dict[str, Any], tmp_path: Path, sweep: Sweep
) -> None:
    url = str(tmp_path / "store")
    open_store(url).claims(_key(sweep)).take(3, point, "driver-gone", sweep.name)
    remedy = rf"when nothing runs on this store, delete claims/{_key(sweep)}/000003\.\*"
    with pytest.raises(CorruptObject, match=rf"claim 1 of trial 3 of .*{remedy}"):
        Driver(sweep, url, Ran()).run()
