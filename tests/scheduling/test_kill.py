"""kill -9 of the driver and its cluster, anywhere: the same command goes on, to the same end."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, attempts, objects, rows, table
from unlearn_ray.storage.store import open_store

FAULTS = Path(__file__).parent.parent / "faults"
CHECKPOINTS = re.compile(r"checkpoints/([0-9a-f]+)/(\d+)-[0-9a-f]+\.safetensors")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def finishes_as_if_uninterrupted(driver: Driver, store: str, expected: Uninterrupted) -> None:
    """`driver` is the same command, started after a kill."""
    driver.ends(0)
    assert rows(store) == expected.rows
    assert table(driver.out) == expected.table
    assert weights(store) == weights(expected.store)


def weights(store: str) -> dict[str, str]:
    """SHA-256 of the weights of every training that is complete, by `kind/key`."""
    opened = open_store(store)
    return {
        f"{kind}/{key}": record.files["model.safetensors"].sha256
        for kind in ("pretrain", "retrain", "unlearn")
        for key in opened.records(kind)
        if (record := opened.record(kind, key)) is not None
    }


def no_step_ran_twice(store: str, records_then: dict[str, bytes]) -> None:
    """Of the steps that were complete at the kill."""
    records_now = objects(store, "records/")
    assert {name: records_now[name] for name in records_then} == records_then
    # What was not complete yet may have been uploaded before the kill, too.
    often = {training: count for training, count in attempts(store).items() if count > 1}
    assert [name for name in often if f"records/{name}.json" in records_then] == []
    assert all(count == 2 for count in often.values()), often


def checkpoints(store: str) -> dict[str, int]:
    """The iteration of the newest checkpoint of each step that has one."""
    found = [
        CHECKPOINTS.fullmatch(name) for name in open_store(store).objects.names("checkpoints/")
    ]
    newest: dict[str, int] = {}
    for match in filter(None, found):
        newest[match[1]] = max(newest.get(match[1], 0), int(match[2]))
    return newest


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
    store = str(tmp_path / "store")
    often = ("--set", "checkpoint_minutes=0.005")
    with Driver(uninterrupted.file, store, *often) as driver:
        seen: set[tuple[str, int]] = set()

        def third_checkpoint() -> bool:
            seen.update(checkpoints(store).items())
            keys = [key for key, _ in seen]
            return any(keys.count(key) >= 3 for key in keys)

        driver.until(third_checkpoint, "a third checkpoint")
        driver.kill()
        assert objects(store, "records/") == {}
        # Stale workers may save once more; nothing goes back behind this.
        reached = checkpoints(store)
        assert reached
        driver.leaves_nothing()
        resumed: set[tuple[str, int]] = set()
        with Driver(uninterrupted.file, store, *often) as again:

            def both_complete() -> bool:
                resumed.update(checkpoints(store).items())
                done = weights(store)
                return all(any(key in name for name in done) for key in reached)

            again.until(both_complete, "the end of the resumed trainings")
            finishes_as_if_uninterrupted(again, store, uninterrupted)
        later = [(key, iteration) for key, iteration in resumed if key in reached]
        assert any(iteration > reached[key] for key, iteration in later), "saw no later checkpoint"
        assert all(iteration >= reached[key] for key, iteration in later), "began anew"
        assert open_store(store).objects.names("checkpoints/") == []


@pytest.mark.parametrize("kind", ["pretrain", "unlearn"])
def test_killed_between_upload_and_record(
    kind: str, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    store = str(tmp_path / "store")
    if kind == "unlearn":
        uninterrupted.trained_references(tmp_path / "store")
    path = os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")])
    faulty = {"PYTHONPATH": path, "DIE_BEFORE_RECORD_OF": kind}
    with Driver(uninterrupted.file, store, environment=faulty) as driver:
        driver.ends(-9)
        then = objects(store, "records/")
        assert any(training.startswith(f"{kind}/") for training in attempts(store))
        assert not any(name.startswith(f"records/{kind}/") for name in then)
        with Driver(uninterrupted.file, store) as again:
            finishes_as_if_uninterrupted(again, store, uninterrupted)
        driver.leaves_nothing()
        no_step_ran_twice(store, then)
        assert any(
            training.startswith(f"{kind}/") and count == 2
            for training, count in attempts(store).items()
        ), "the model that lost its record was not trained again"
