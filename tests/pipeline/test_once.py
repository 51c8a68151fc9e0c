"""A step's work is done one time per store, whoever asks, dies or stands still meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from unlearn_ray.core.errors import StepFailed
from unlearn_ray.pipeline.once import Done, Uploaded, ensure
from unlearn_ray.pipeline.steps import Step
from unlearn_ray.storage.store import Store, open_store

LEASE_SECONDS = 1.0


@dataclass(frozen=True)
class Number(Step):
    """Named by its seed alone."""

    kind: ClassVar[str] = "number"
    revision: ClassVar[int] = 1

    def own_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


@dataclass(frozen=True)
class Successor(Number):
    kind: ClassVar[str] = "successor"

    def inputs(self) -> dict[str, Step]:
        return {"before": Number(None, self.seed)}


def upload(step: Step, store: Store, made_by: str) -> Uploaded:
    return Uploaded(store.put_artifact(step.kind, step.key, {"number": b"1"}), {"made_by": made_by})


def attempts(url: str, step: Step) -> int:
    return len(open_store(url).objects.names(f"artifacts/{step.kind}/{step.key}/"))


def test_the_second_who_asks_gets_the_record(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(None, 0)
    first = ensure(step, store, lambda step: upload(step, store, "first"))
    second = ensure(step, store, lambda _: pytest.fail("it ran again"))
    assert (first.ran, second.ran) == (True, False)
    assert first.record == second.record
    assert first.record.result == {"made_by": "first"}
    assert ensure(Number(None, 1), store, lambda step: upload(step, store, "other")).ran


def test_a_step_waits_for_no_input_that_nobody_makes(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Successor(None, 0)
    with pytest.raises(StepFailed, match=r"its input before .* is not in the store"):
        ensure(step, store, lambda _: pytest.fail("it ran without its input"))
    ensure(Number(None, 0), store, lambda step: upload(step, store, "first"))
    assert ensure(step, store, lambda step: upload(step, store, "second")).ran


def test_of_many_at_once_one_runs(tmp_path: Path) -> None:
    url, step = str(tmp_path), Number(None, 0)
    barrier, done = threading.Barrier(8), []

    def ask(name: str) -> None:
        store = open_store(url)
        barrier.wait()
        done.append(ensure(step, store, lambda step: upload(step, store, name)))

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.ran for one in done) == [False] * 7 + [True]
    assert len({one.record.created + one.record.result["made_by"] for one in done}) == 1
    assert attempts(url, step) == 1


def test_a_failure_leaves_the_step_to_the_next(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(None, 0)

    def fail(_: Step) -> Uploaded:
        raise StepFailed("number", "failed", "run again")

    with pytest.raises(StepFailed, match="number: failed"):
        ensure(step, store, fail)
    assert ensure(step, open_store(str(tmp_path)), lambda step: upload(step, store, "next")).ran


def test_who_waits_may_give_up(tmp_path: Path) -> None:
    store, step = open_store(str(tmp_path)), Number(None, 0)
    other = open_store(str(tmp_path)).lease(step.key)
    assert other is not None
    with other, pytest.raises(StepFailed, match="given up while another process ran it"):
        ensure(step, store, lambda _: pytest.fail("it ran"), give_up=lambda: True)


def test_who_stood_still_takes_the_others_record(tmp_path: Path) -> None:
    url, step = str(tmp_path / "store"), Number(None, 0)
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
        done = ensure(step, store, lambda step: upload(step, store, "taken over"))
        assert done.ran
        go_on.touch()
        os.kill(sleeper.pid, signal.SIGCONT)
        _wait_for(ended)
    finally:
        sleeper.kill()
        sleeper.join()
    assert ended.read_text() == "taken over, ran=False"
    assert store.record(step.kind, step.key) == done.record
    assert store.read_artifact(done.record, "number") == b"1"


def _run_and_stand_still(url: str, step: Step, began: Path, go_on: Path, ended: Path) -> None:
    store = open_store(url, lease_seconds=LEASE_SECONDS)

    def run(step: Step) -> Uploaded:
        began.touch()
        _wait_for(go_on)
        return upload(step, store, "stood still")

    done: Done = ensure(step, store, run)
    unfinished = ended.with_suffix(".unfinished")
    unfinished.write_text(f"{done.record.result['made_by']}, ran={done.ran}")
    unfinished.rename(ended)


def _wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} within {seconds} s"
        time.sleep(0.01)
