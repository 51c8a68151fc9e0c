"""kill -9 of the driver and its cluster, anywhere: the same command goes on, to the same end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, attempts, objects, rows, table, weights
from unlearn_ray.storage.store import open_store

FAULTS = Path(__file__).parent.parent / "faults"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def finishes_as_if_uninterrupted(driver: Driver, store: str, expected: Uninterrupted) -> None:
    """`driver` is the same command, started after a kill."""
    driver.ends(0)
    assert rows(store) == expected.rows
    assert table(driver.out) == expected.table
    assert weights(store) == weights(expected.store)


def no_step_ran_twice(store: str, records_then: dict[str, bytes]) -> None:
    """Of the steps that were complete at the kill."""
    records_now = objects(store, "records/")
    assert {name: records_now[name] for name in records_then} == records_then
    # What was not complete yet may have been uploaded before the kill, too.
    often = {training: count for training, count in attempts(store).items() if count > 1}
    assert [name for name in often if f"records/{name}.json" in records_then] == []
    assert all(count == 2 for count in often.values()), often


def checkpoints(store: str, key: str) -> list[int]:
    """The iterations of the checkpoints of a step."""
    prefix = f"checkpoints/{key}/"
    names = open_store(store).objects.names(prefix)
    return [int(name.removeprefix(prefix).partition("-")[0]) for name in names]


def test_killed_in_the_middle_of_the_studies(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    store = uninterrupted.trained_references(tmp_path / "store")
    with Driver(uninterrupted.file, store) as driver:
        tuned = open_store(store).objects
        driver.until(lambda: any("tuning-" in n for n in tuned.names("rows/")), "the first trial")
        driver.kill()
        then = objects(store, "records/")
        assert 0 < len(rows(store)) < len(uninterrupted.rows)
        # What the killed driver had started may still run: nobody waits for it here.
        with Driver(uninterrupted.file, store) as again:
            finishes_as_if_uninterrupted(again, store, uninterrupted)
        driver.leaves_nothing()
        no_step_ran_twice(store, then)


def test_killed_in_the_middle_of_a_pretraining(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    store = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    key = uninterrupted.one_pretraining
    often = ("--set", "checkpoint_minutes=0.005")
    seen: set[int] = set()
    with Driver(uninterrupted.file, store, *often) as driver:

        def third_checkpoint() -> bool:
            seen.update(checkpoints(store, key))
            return len(seen) >= 3

        driver.until(third_checkpoint, "a third checkpoint")
        driver.kill()
        then = objects(store, "records/")
        assert f"records/pretrain/{key}.json" not in then
        driver.leaves_nothing()  # a worker that outlives the driver may save once more
        reached = max(checkpoints(store, key))
        later: set[int] = set()
        with Driver(uninterrupted.file, store, *often) as again:

            def complete() -> bool:
                later.update(checkpoints(store, key))
                return f"pretrain/{key}" in weights(store)

            again.until(complete, "the end of the resumed pretraining")
            finishes_as_if_uninterrupted(again, store, uninterrupted)
    assert max(later) > reached, "no later checkpoint was seen"
    assert min(later) >= reached, "it began anew"
    assert open_store(store).objects.names("checkpoints/") == []
    no_step_ran_twice(store, then)


@pytest.mark.parametrize("kind", ["pretrain", "unlearn"])
def test_killed_between_upload_and_record(
    kind: str, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    store = uninterrupted.trained_references(tmp_path / "store", but_one=kind == "pretrain")
    path = os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")])
    faulty = {"PYTHONPATH": path, "DIE_BEFORE_RECORD_OF": kind}
    with Driver(uninterrupted.file, store, environment=faulty) as driver:
        driver.ends(-signal.SIGKILL)
        then = objects(store, "records/")
        uploaded = [t for t in attempts(store) if f"records/{t}.json" not in then]
        assert len(uploaded) == 1
        assert uploaded[0].startswith(f"{kind}/")
        with Driver(uninterrupted.file, store) as again:
            finishes_as_if_uninterrupted(again, store, uninterrupted)
        driver.leaves_nothing()
    no_step_ran_twice(store, then)
    assert attempts(store)[uploaded[0]] == 2
