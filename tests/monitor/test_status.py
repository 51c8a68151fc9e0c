"""How far a sweep is, as the store tells it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.results.rows import one_row
from tests.s3_server import S3Server
from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import BadInput
from unlearn_ray.monitor.manifest import Manifest, Wanted, announce, manifests
from unlearn_ray.monitor.running import Observer, activity
from unlearn_ray.monitor.status import SweepStatus, sweep_statuses
from unlearn_ray.storage.leases import Holder
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import DRIVER, Record, Store, Work, open_store
from unlearn_ray.studies.plan import make_plan

ELSEWHERE = ProcessIdentity(host="elsewhere", pid=7, machine="another boot", started="1")
MANIFEST = Manifest(
    name="small",
    started="2026-01-01T00:00:00+00:00",
    driver=ELSEWHERE,
    references=(
        Wanted("pretrain", "a", "pretrain (seed 0)"),
        Wanted("retrain", "b", "retrain (seed 0)"),
        Wanted("measure", "c", "measure retrain (seed 0)"),
    ),
    studies=(
        Wanted("finetune", "finetune-s1", "finetune", 8),
        Wanted("neggrad", "neggrad-s1", "neggrad", 8),
    ),
    tuning=(0, 1),
    runs=2,
    reference_scores=0,
    study_scores=0,
    budget_hours=None,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def begin(store: Store, manifest: Manifest = MANIFEST) -> None:
    """As if a sweep had been started that has this manifest."""
    store.write_sweep(manifest.name, json.dumps(asdict(manifest)).encode())


def status(store: Store, observer: Observer | None = None) -> SweepStatus:
    (found,) = sweep_statuses(store, "small", observer or Observer())
    return found


def ago(**time_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**time_ago)).isoformat(timespec="seconds")


def put(store: Store, method: str, seed: int, gap: float | None, **columns: Any) -> None:
    """A row; its average gap is `gap`, and without one nothing was measured."""
    retrained = (
        {0: 90.0, 1: 92.0, 2: 90.0, 3: 92.0}[seed],
        {0: 80.0, 1: 82.0, 2: 80.0, 3: 84.0}[seed],
    )
    values = (None, None) if gap is None else (retrained[0] - gap, retrained[1] - gap)
    row = one_row(
        method, seed, *values, **{"purpose": "tuning", "created": ago(minutes=1), **columns}
    )
    where = f"{row['study_key']}/{row['sweep']}/{row['purpose']}"
    name = f"{where}-{row['trial']:06d}-{row['point']}-{seed}"
    store.write_row(name, row)


def record(kind: str, key: str, sweep: str = "small", seconds: float = 3600.0) -> Record:
    return Record(
        kind=kind, key=key, config={}, inputs={}, files={}, result={}, seconds=seconds,
        created=ago(hours=2), versions={}, host="here", sweep=sweep, row="", workers=2,
        accelerators=0.5, earlier_seconds=1800.0,
    )  # fmt: skip


# Steps and trials


def test_a_finished_sweep_is_finished(finished_sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    store, sweep = open_store(str(tmp_path / "store")), tiny_sweep(tmp_path)
    announce(make_plan(sweep, store), store)
    (found,) = sweep_statuses(store, None, Observer())
    assert found.finished
    assert found.references == {
        "pretrain": (2, 2),
        "retrain": (2, 2),
        "samples": (2, 2),
        "observe": (3, 3),
        "measure": (6, 6),
    }
    (study,) = found.studies
    assert (study.complete, study.wanted, study.reported, study.to_report) == (1, 1, 1, 1)
    assert (found.failures, found.running) == ((), ())
    assert all(hours > 0 for hours in found.hours.values())
    own = {step.key for step in manifests(store)["tiny"].references}
    alone = (store.record(kind, key) for kind in found.hours for key in store.records(kind))
    records = [*alone, *store.sharing().values()]
    paid = [one.accelerator_hours for one in records if one and (one.row or one.key in own)]
    assert sum(found.hours.values()) == pytest.approx(sum(paid))
    assert (found.process, found.driver_ended) == (os.getpid(), False)


def test_trials_are_counted_by_how_they_ended(store: Store) -> None:
    begin(store)
    assert store.complete(record("pretrain", "a"))
    for trial, gaps in enumerate([(2.0, 4.0), (1.0, 3.0), (9.0,), (5.0,), (None,)]):
        for seed, gap in enumerate(gaps):
            state = {2: "stopped", 4: "failed"}.get(trial, "complete")
            failure = "loss is NaN" if gap is None else None
            put(store, "finetune", seed, gap, trial=trial, state=state, failure=failure)
    put(store, "finetune", 2, 1.0, trial=1, purpose="reporting")
    put(store, "finetune", 3, 1.0, trial=0, purpose="reporting")  # of an earlier winner
    put(store, "finetune", 0, 1.0, trial=7, sweep="other")
    found = status(store)
    assert found.references == {"pretrain": (1, 1), "retrain": (0, 1), "measure": (0, 1)}
    finetune, neggrad = found.studies
    assert (finetune.complete, finetune.stopped, finetune.failed, finetune.unfinished) == (
        2,
        1,
        1,
        1,
    )
    assert (finetune.best, finetune.ended, finetune.wanted) == (2.0, 4, 8)
    assert (finetune.reported, finetune.to_report) == (1, 2)
    assert (neggrad.ended, neggrad.best, neggrad.reported) == (0, None, 0)
    assert not found.finished


def test_failures_are_grouped_newest_first(store: Store) -> None:
    begin(store)
    for trial in range(4):
        failure = f"loss within the first {10 + trial} of 45 iterations: NaN"
        put(store, "finetune", 0, None, trial=trial, state="failed", failure=failure,
            created=ago(minutes=30 - trial))  # fmt: skip
    put(store, "neggrad", 0, None, trial=0, state="failed", failure="features hold NaN")
    newest, loss = status(store).failures
    assert (newest.name, newest.count, newest.reason) == ("neggrad", 1, "features hold NaN")
    assert (loss.name, loss.count) == ("finetune", 4)
    assert loss.reason == "loss within the first 13 of 45 iterations: NaN"


# Time and money


def test_hours_are_those_that_this_sweep_paid(store: Store) -> None:
    begin(store)
    assert store.complete(record("pretrain", "a"))
    assert store.complete(record("retrain", "b", sweep="other"))
    assert store.complete(record("measure", "c", seconds=1800.0))
    put(store, "finetune", 0, 1.0, hours=0.5)
    put(store, "finetune", 1, 1.0, hours=0.0)  # found in the store
    hours = {"pretrain": 1.5, "unlearn": 0.5, "measure": 1.0 + 0.25}
    assert status(store).hours == pytest.approx(hours)


def test_throughput_and_time_left(store: Store) -> None:
    begin(store)
    assert status(store).throughput.overall is None
    assert status(store).seconds_left is None
    # Ten an hour, two hours ago; then 30 in the last half hour, two seeds each.
    for number in range(10):
        put(
            store,
            "finetune",
            number % 2,
            1.0,
            trial=number // 2,
            created=ago(minutes=180 - 6 * number),
        )
    for number in range(6):
        put(
            store,
            "neggrad",
            number % 2,
            1.0,
            trial=number // 2,
            created=ago(minutes=30 - 5 * number),
        )
    found = status(store)
    assert found.throughput.last_hour == pytest.approx(6, rel=0.01)
    assert found.throughput.overall == pytest.approx(15 / (175 / 60), rel=0.01)
    # Of the reference steps, no evaluation has told what one takes.
    assert store.complete(record("pretrain", "a"))
    assert store.complete(record("retrain", "b"))
    assert status(store).seconds_left is None
    assert store.complete(record("measure", "c", seconds=60.0))
    # Three and five trials of two seeds, and two reports of each study, at twelve an hour.
    seconds = 3600 * (2 * (3 + 5) + 4) / 12
    left = status(store).seconds_left
    assert left is not None
    assert left.low < seconds < left.high < 2 * left.low
    # While something runs it counts down since the last row, five minutes ago.
    hold(store, "k1")
    running = status(store).seconds_left
    assert running is not None
    assert (left.low - running.low, left.high - running.high) == pytest.approx((300, 300), abs=5)


def test_reference_steps_that_are_left_count_by_their_kind(store: Store) -> None:
    references = tuple(Wanted("pretrain", f"p{n}", f"pretrain (seed {n})") for n in range(4))
    begin(store, replace(MANIFEST, references=references, studies=()))
    assert status(store).seconds_left is None
    assert store.complete(record("pretrain", "p0", seconds=1000.0))
    left = status(store).seconds_left
    assert left is not None
    assert left.low < 3000 < left.high
    for key in ("k1", "k2", "k3"):
        hold(store, key)
    assert store.complete(replace(record("pretrain", "p1", seconds=1000.0), created=ago(seconds=0)))
    left = status(store).seconds_left  # three at a time
    assert left is not None
    assert left.low < 2000 / 3 < left.high


def test_time_left_ends_with_what_is_said(store: Store) -> None:
    """Rather than nothing, or less, when a step takes longer than those before it."""
    begin(store, replace(MANIFEST, studies=()))
    for step in MANIFEST.references[:2]:
        assert store.complete(record(step.kind, step.key, seconds=60.0))
    hold(store, "k1")
    assert status(store).seconds_left is None


def test_a_young_sweep_is_measured_by_its_own_time(store: Store) -> None:
    begin(store)
    for number in range(6):
        put(store, "finetune", number % 2, 1.0, trial=number // 2, created=ago(minutes=6 - number))
    assert status(store).throughput.last_hour == pytest.approx(60, rel=0.05)


def test_a_budget_halts_a_sweep(store: Store) -> None:
    begin(store, replace(MANIFEST, budget_hours=6.0))
    for number in range(6):
        put(store, "finetune", number % 2, 1.0, trial=number // 2, hours=0.5,
            created=ago(minutes=58 - 10 * number))  # fmt: skip
    found = status(store)
    assert sum(found.hours.values()) == pytest.approx(6 * 0.75)
    assert not found.halted
    begun = replace(MANIFEST, budget_hours=6.0, references=())
    begin(store, begun)
    # 1.5 hours are left, which two more rows cost; four more of the reports; six an hour.
    left = status(store).seconds_left
    assert left is not None
    assert left.low < 3600 < left.high < 2 * 3600
    begin(store, replace(MANIFEST, budget_hours=4.5))
    assert status(store).halted
    assert not status(store).finished  # references and reports are missing
    for step in MANIFEST.references:
        assert store.complete(record(step.kind, step.key, sweep="other"))
    for seed in (2, 3):
        put(store, "finetune", seed, 1.0, trial=0, purpose="reporting")
    assert status(store).finished


# What runs now


def holder(**changes: Any) -> Holder:
    held = Holder(
        work=Work("unlearn", "unlearn by neggrad (seed 0), trial 4", "small"),
        process=ELSEWHERE,
        since=ago(minutes=10),
        token="t",
        lease_seconds=30.0,
        counter=80,
        seen=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return replace(held, **changes)


def hold(store: Store, key: str, **changes: Any) -> None:
    data = json.dumps(asdict(holder(**changes))).encode()
    store.objects.write(f"leases/{key}.000001.json", data)


def test_who_holds_what_since_when(store: Store) -> None:
    begin(store)
    hold(store, "k1")
    hold(store, "k2", seen=ago(minutes=5))
    hold(store, "released", released=True)
    hold(store, "complete")
    assert store.complete(record("unlearn", "complete"))
    hold(store, "of-another", work=Work("unlearn", "x", "other"))
    alive, silent = sorted(status(store).running, key=lambda one: one.seen_seconds)
    assert (alive.step, alive.host) == ("unlearn by neggrad (seed 0), trial 4", "elsewhere")
    assert (alive.process, alive.held_seconds, alive.heartbeat) == (7, 600.0, "alive")
    assert silent.heartbeat == "silent"
    assert silent.seen_seconds == pytest.approx(300, abs=5)


def test_merging_rows_is_no_step(store: Store) -> None:
    begin(store)
    lease = store.lease("compaction", Work("compaction"))
    assert lease is not None
    assert activity(store, Observer()).steps == {}
    assert status(store).running == ()
    store.remove_leftovers()
    lease.finish()


def test_drivers_are_no_steps(store: Store) -> None:
    begin(store, replace(MANIFEST, driver=replace(ProcessIdentity.here(), started="before")))
    assert status(store).driver_ended
    hold(store, "driver-a", work=Work(DRIVER, "driver", "small"))
    hold(store, "driver-b", work=Work(DRIVER, "driver", "small"), seen=ago(minutes=5))
    hold(store, "driver-c", work=Work(DRIVER, "driver", "other"))
    found = status(store)
    assert found.running == ()
    assert [(one.process, one.heartbeat) for one in found.drivers] == [(7, "alive")]
    assert not found.driver_ended


def test_a_watcher_believes_its_own_eyes(store: Store) -> None:
    """A clock that is ten minutes ahead, or behind, is no sign of life or death."""
    begin(store)
    late, early = ago(minutes=10), ago(minutes=-10)
    observer = Observer()
    for counter in (1, 2, 2):
        hold(store, "behind", seen=late, counter=counter, token="b", lease_seconds=0.2)
        hold(store, "ahead", seen=early, counter=1, token="a", lease_seconds=0.2)
        found = {one.held_seconds: one for one in status(store, observer).running}
        if counter == 2:
            assert found[2 * 0.2 / 4].heartbeat == "alive"
            assert found[1 * 0.2 / 4].heartbeat == "silent"
        time.sleep(0.25 if counter == 1 else 0)


def test_a_killed_holder_of_this_machine_is_dead(store: Store, tmp_path: Path) -> None:
    begin(store)
    program = (
        "import sys; from unlearn_ray.storage.store import Work, open_store\n"
        "store = open_store(sys.argv[1]); lease = store.lease('k', Work('unlearn', 'x', 'small'))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", program, store.url]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert [one.heartbeat for one in status(store).running] == ["alive"]
    process.kill()
    process.communicate()
    assert [one.heartbeat for one in status(store).running] == ["dead"]


# Stores


def test_all_sweeps_of_a_store_the_newest_first(store: Store) -> None:
    for number, name in enumerate(("one", "two", "three")):
        begin(store, replace(MANIFEST, name=name, started=f"2026-01-0{number + 1}T00:00:00+00:00"))
        put(store, "finetune", 0, 1.0, sweep=name, trial=number)
    found = sweep_statuses(store, None, Observer())
    assert [one.name for one in found] == ["three", "two", "one"]
    assert all(one.studies[0].unfinished == 1 for one in found)


def test_a_store_without_sweeps(store: Store) -> None:
    with pytest.raises(BadInput, match=r"no sweep was started on it; start one"):
        sweep_statuses(store, None, Observer())


def test_a_sweep_that_is_none(store: Store) -> None:
    begin(store)
    with pytest.raises(BadInput, match=r"sweep smal: no sweep of this name.*did you mean small"):
        sweep_statuses(store, "smal", Observer())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"name": "small"}', b"[" * 100_000])
def test_what_is_damaged_is_told_of_and_the_rest_is_said(
    store: Store, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    begin(store)
    for step in MANIFEST.references[:2]:
        assert store.complete(record(step.kind, step.key))
    hold(store, "k1")
    put(store, "finetune", 0, 1.0)
    put(store, "finetune", 1, 1.0)
    sound = status(store)
    assert (sound.references["retrain"], sound.running[0].step) == ((1, 1), "unlearn by neggrad"
        " (seed 0), trial 4")  # fmt: skip
    damaged = (
        *("sweeps/other.json", "records/retrain/b.json", "leases/k1.000002.json"),
        "rows/finetune-s1/small/tuning-000007-x-0.parquet",
    )
    for name in damaged:
        store.objects.write(name, data)
    # And a row that could be one by its types, but says nothing.
    store.write_row("finetune-s1/small/tuning-000008-x-0", {"sweep": "small", "trial": 8})
    with caplog.at_level("WARNING"):
        found = status(store)
    for name in (*damaged, "row finetune-s1/small/tuning-000008-x-0"):
        assert caplog.text.count(name) == 1
    assert found.references == {**sound.references, "retrain": (0, 1)}
    assert found.running == ()
    assert found.studies == sound.studies
    with caplog.at_level("WARNING"):
        status(store)
    assert caplog.text.count("sweeps/other.json") == 1


def test_a_copy_of_a_manifest_is_no_sweep(store: Store) -> None:
    begin(store)
    store.objects.write("sweeps/small.conflict-1.json", store.objects.read("sweeps/small.json"))
    assert set(manifests(store)) == {"small"}


def test_on_s3(s3_server: S3Server) -> None:
    store = open_store(s3_server.store_url("prefix"))
    begin(store)
    assert store.complete(record("pretrain", "a"))
    put(store, "finetune", 0, 1.0)
    hold(store, "k", seen=ago(minutes=5))
    found = status(store)
    assert found.references["pretrain"] == (1, 1)
    assert found.studies[0].unfinished == 1
    assert [one.heartbeat for one in found.running] == ["silent"]


def test_it_needs_neither_ray_nor_pandas(store: Store) -> None:
    begin(store)
    program = (
        "import sys; from unlearn_ray.sweep import main\n"
        "code = main(['status', sys.argv[1]])\n"
        "assert code == 0 and {'ray', 'pandas', 'optuna'}.isdisjoint(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, store.url], check=True)
