"""Steps that run along with the one that makes a model, and share its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import run_references, runtime, tiny_sweep, trial
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.steps.kinds.measure import Measure, measures
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.lookup import find_record, find_step
from unlearn_ray.storage.store import Record, Store, open_store
from unlearn_ray.studies.trial import Scored, score


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path)


@pytest.fixture
def store(sweep: Sweep, tmp_path: Path) -> Store:
    here = runtime(tmp_path / "store")
    run_references(sweep, 0, here)
    return here.store


def scored(sweep: Sweep, store: Store, checkpoint_seconds: float = 600) -> Scored:
    return score(trial(sweep, sweep.studies[0], 0), runtime(store.url, checkpoint_seconds))


def model(sweep: Sweep, store: Store) -> Record:
    (key,) = store.records("unlearn")
    record = store.record("unlearn", key)
    assert record is not None
    return record


def along(record: Record) -> list[str]:
    return [one.kind for one in record.along]


class Interrupts:
    """A metric that ends with an error, the first time that it is measured of the model."""

    def __init__(self, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = [error]
        original = Measure.run

        def run(step: Measure, here: Any) -> Any:
            unlearned = isinstance(step.model, Unlearn)
            if unlearned and step.metric.name == "test_accuracy" and self.left:
                raise self.left.pop()
            return original(step, here)

        monkeypatch.setattr(Measure, "run", run)


def trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unlearn, "run", lambda *_: pytest.fail("it was unlearned again"))


def test_whatever_ends_them_the_model_is_complete(
    sweep: Sweep, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupts(StopRequested("it", "the sweep is being stopped", "run it again"), monkeypatch)
    with pytest.raises(StopRequested):
        scored(sweep, store)
    assert along(model(sweep, store)) == ["observe", "measure"]
    assert store.objects.names("rows/") == []
    trained_once(monkeypatch)
    assert scored(sweep, store).failure is None
    # What was lacking has a record of its own; those of the references are older.
    assert along(model(sweep, store)) == ["observe", "measure"]
    key = measures(trial(sweep, sweep.studies[0], 0).unlearn, sweep.metrics)[1].key
    assert key in store.records("measure")


def test_a_metric_that_fails_is_told_as_such(
    sweep: Sweep, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupts(ZeroDivisionError("of a metric"), monkeypatch)
    failure = scored(sweep, store).failure
    assert failure is not None
    assert "measure test_accuracy" in failure
    assert set(store.failures.kinds().values()) == {"measure"}
    assert along(model(sweep, store)) == ["observe", "measure"]
    assert store.objects.names("leases/") == []


def test_after_a_long_training_each_is_apart(sweep: Sweep, store: Store) -> None:
    """A process that dies while it measures must not lose more than between checkpoints."""
    before = len(store.records("measure"))
    scored(sweep, store, checkpoint_seconds=0)
    assert along(model(sweep, store)) == []
    assert len(store.records("measure")) == before + len(sweep.metrics)


def test_they_are_found_by_their_keys(sweep: Sweep, store: Store) -> None:
    scored(sweep, store)
    record = model(sweep, store)
    assert along(record) == ["observe", "measure", "measure"]
    assert {one.key for one in record.along} == store.sharing().keys()
    for one in record.sharing:
        assert find_record(store, one.key) == find_step(store, one.key[:12]) == one
        for file in one.files:
            assert store.read_artifact(one, file)
    assert open_store(store.url).clean(remove=True).artifacts == []
