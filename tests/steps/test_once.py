"""A step's work is done one time per store, whoever asks, dies or stands still meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.tiny import ensure
from unlearn_ray.core.errors import HeldElsewhere, StepFailed, StopRequested, TrialError
from unlearn_ray.core.schema import schema
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import Account, Done, Uploaded
from unlearn_ray.storage.records import record_name
from unlearn_ray.storage.store import Store, Work, open_store

# Whoever waits looks every 0.5 s, and must look twice within it.
LEASE_SECONDS = 2.0
ACCOUNT = Account("tiny", accelerators=2.0, row="study/tiny/tuning-000003-0", trial="trial 3")


@schema
class Number(Step):
    """Named by its seed alone."""

    name: ClassVar[str] = "number"
    setting: None = None  # type: ignore[assignment]

    def own_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


@schema
class Successor(Number):
    name: ClassVar[str] = "successor"

    def inputs(self) -> dict[str, Step]:
        return {"before": Number(seed=self.seed)}


def upload(step: Step, store: Store, made_by: str) -> Uploaded:
    return Uploaded(
        seconds=1.0,
        files=store.put_artifact(step.name, step.key, {"number": b"1"}),
        result={"made_by": made_by},
        workers=3,
        checkpointed=store.has_checkpointed(step.key),
    )


def attempts(url: str, step: Step) -> int:
    return len(open_store(url).objects.names(f"artifacts/{step.name}/{step.key}/"))


def test_the_second_who_asks_gets_the_record(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)
    first = ensure(step, store, lambda step: upload(step, store, "first"), ACCOUNT)
    second = ensure(step, store, lambda _: pytest.fail("it ran again"), ACCOUNT)
    assert (first.ran, second.ran) == (True, False)
    assert first.record == second.record
    assert first.record.result == {"made_by": "first"}
    assert ensure(Number(seed=1), store, lambda step: upload(step, store, "other"), ACCOUNT).ran


def test_inputs_come_first_and_once(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Successor(seed=0)
    ran: list[Step] = []

    def run(step: Step) -> Uploaded:
        ran.append(step)
        return upload(step, store, "first")

    assert ensure(step, store, run, ACCOUNT).ran
    assert ran == [Number(seed=0), step]
    assert not ensure(step, store, run, ACCOUNT).ran
    store.objects.delete(record_name("number", Number(seed=0).key))
    assert not ensure(step, store, run, ACCOUNT).ran  # nobody asks for it
    assert ran == [Number(seed=0), step]


def test_of_many_at_once_one_runs(tmp_path: Path) -> None:
    url, step = str(tmp_path), Number(seed=0)
    barrier, done = threading.Barrier(8), []

    def ask(name: str) -> None:
        store = open_store(url)
        barrier.wait()
        done.append(ensure(step, store, lambda step: upload(step, store, name), ACCOUNT))

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.ran for one in done) == [False] * 7 + [True]
    assert len({one.record.created + one.record.result["made_by"] for one in done}) == 1
    assert attempts(url, step) == 1


def test_a_failure_leaves_the_step_to_the_next(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)

    def fail(_: Step) -> Uploaded:
        raise StepFailed("number", "failed", "run again")

    with pytest.raises(StepFailed, match="number: failed"):
        ensure(step, store, fail, ACCOUNT)
    assert ensure(
        step, open_store(str(tmp_path)), lambda step: upload(step, store, "next"), ACCOUNT
    ).ran


def test_nothing_is_left_beside_record_and_artifact(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)

    def run(step: Step) -> Uploaded:
        store.save_checkpoint(step.key, 5, b"half done")
        assert list(store.holders()) == [step.key]
        return upload(step, store, "first")

    assert ensure(step, store, run, ACCOUNT).ran
    kinds = {name.split("/")[0] for name in store.objects.names("")}
    assert kinds == {"records", "artifacts"}


def test_what_can_only_fail_leaves_no_lease(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)

    def fail(_: Step) -> Uploaded:
        raise TrialError("number", "failed", "change it")

    with pytest.raises(TrialError):
        ensure(step, store, fail, ACCOUNT)
    assert store.objects.names("") == []


def test_a_lease_left_of_a_complete_step_is_not_looked_at(tmp_path: Path) -> None:
    """As if its holder had been killed between the record and the lease's deletion."""
    store, step = open_store(str(tmp_path)), Number(seed=0)
    assert ensure(step, store, lambda step: upload(step, store, "first"), ACCOUNT).ran
    held = open_store(str(tmp_path)).lease(step.key, Work(step.name))
    assert held is not None
    with held:
        assert not ensure(step, store, lambda _: pytest.fail("it ran again"), ACCOUNT).ran


def test_of_two_that_run_it_one_is_recorded(tmp_path: Path) -> None:
    """As when one stood still: both hold the lease, and neither knows of the other."""
    url, step = str(tmp_path), Number(seed=0)
    store = open_store(url)

    def run_beside_another(step: Step) -> Uploaded:
        (lease,) = store.objects.names("leases/")
        store.objects.delete(lease)
        inner = ensure(step, open_store(url), lambda s: upload(s, store, "inner"), ACCOUNT)
        assert inner.ran
        return upload(step, store, "outer")

    done = ensure(step, store, run_beside_another, ACCOUNT)
    assert not done.ran
    assert done.record.result["made_by"] == "inner"
    assert store.objects.names("leases/") == []


def test_a_record_says_what_the_step_cost(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path), lease_seconds=0.4), Number(seed=0)

    def stop(_: Step) -> Uploaded:
        time.sleep(0.75)  # several heartbeats
        raise StopRequested("number", "the sweep is being stopped", "run it again")

    def run(step: Step) -> Uploaded:
        time.sleep(0.2)
        return upload(step, store, "second")

    with pytest.raises(StopRequested):
        ensure(step, store, stop, ACCOUNT)
    record = ensure(step, store, run, ACCOUNT).record
    assert (record.sweep, record.row) == (ACCOUNT.sweep, ACCOUNT.row)
    assert 0.2 <= record.earlier_seconds <= 0.8
    assert record.seconds == 1.0  # of the workers; what they waited for is not in it
    attempts = record.seconds + record.earlier_seconds
    assert record.accelerator_hours == pytest.approx(attempts * 3 * 2.0 / 3600)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.4])
def test_a_lease_of_any_length_is_taken_over(tmp_path: Path, seconds: float) -> None:
    """Whoever waits looks every half second, however short the lease is."""
    url, step = str(tmp_path), Number(seed=0)
    silent = open_store(url, lease_seconds=seconds).lease(step.key, Work("number"))
    assert silent is not None
    silent._end.set()  # its heartbeat stops, as that of a process that stands still
    silent._thread.join()
    store = open_store(url, lease_seconds=seconds)
    waiting = time.monotonic()

    def give_up() -> bool:
        return time.monotonic() - waiting > 60

    done = ensure(step, store, lambda s: upload(s, store, "next"), ACCOUNT, give_up=give_up)
    assert done.ran


def test_what_can_only_fail_leaves_no_checkpoint(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)

    def fail(_: Step) -> Uploaded:
        open_store(str(tmp_path)).save_checkpoint(step.key, 5, b"half done")  # of its workers
        raise TrialError("number", "failed", "change it")

    with pytest.raises(TrialError):
        ensure(step, store, fail, ACCOUNT)
    assert store.objects.names("") == []


def test_who_waits_may_give_up(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(seed=0)
    other = open_store(str(tmp_path)).lease(step.key, Work("number"))
    assert other is not None
    with other, pytest.raises(HeldElsewhere, match="another process runs it"):
        ensure(step, store, lambda _: pytest.fail("it ran"), ACCOUNT, give_up=lambda: True)


def test_who_stood_still_takes_the_others_record(tmp_path: Path) -> None:
    url, step = str(tmp_path / "store"), Number(seed=0)
    began, go_on, ended = (tmp_path / name for name in ("began", "go-on", "ended"))
    sleeper = multiprocessing.get_context("spawn").Process(
        target=_run_and_stand_still, args=(url, step, began, go_on, ended)
    )
    sleeper.start()
    assert sleeper.pid is not None
    try:
        _wait_for(began)
        os.kill(sleeper.pid, signal.SIGSTOP)
        store = open_store(url, lease_seconds=LEASE_SECONDS)
        done = ensure(step, store, lambda step: upload(step, store, "taken over"), ACCOUNT)
        assert done.ran
        go_on.touch()
        os.kill(sleeper.pid, signal.SIGCONT)
        _wait_for(ended)
    finally:
        sleeper.kill()
        sleeper.join()
    assert ended.read_text() == "taken over, ran=False"
    assert store.record(step.name, step.key) == done.record
    assert store.read_artifact(done.record, "number") == b"1"
    assert store.objects.names("leases/") == []  # nor did its heartbeat leave one


def _run_and_stand_still(url: str, step: Step, began: Path, go_on: Path, ended: Path) -> None:
    store = open_store(url, lease_seconds=LEASE_SECONDS)

    def run(step: Step) -> Uploaded:
        began.touch()
        _wait_for(go_on)
        return upload(step, store, "stood still")

    done: Done = ensure(step, store, run, ACCOUNT)
    unfinished = ended.with_suffix(".unfinished")
    unfinished.write_text(f"{done.record.result['made_by']}, ran={done.ran}")
    unfinished.rename(ended)


def _wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} within {seconds} s"
        time.sleep(0.01)
