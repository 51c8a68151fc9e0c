"""A metric that comes after a sweep is finished: it is measured, and nothing is searched again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from tests.results.rows import one_row
from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.gaps import TUG_OF_WAR
from unlearn_ray.core.registry import find
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Measurement, Metric, Observed
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.reporting.table import comparison
from unlearn_ray.steps.base import Step
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import SCORED, references_folder
from unlearn_ray.studies.trial import write_grown

# Over all metrics of a row.
SUMS = ("evaluation_seconds", "accelerator_hours_measure")


@schema
class ForgetCount(Metric):
    """How many samples are forgotten, times a factor."""

    name: ClassVar[str] = "forget_count"
    columns: ClassVar[dict[str, str]] = {"forget_count": "Forgotten"}

    factor: float = 1.0

    def measure(self, model: Observed) -> Measurement:
        """One value."""
        return Measurement({"forget_count": self.factor * model.size("forget")})


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path)


@pytest.fixture
def store(finished_sweep: Path, tmp_path: Path) -> Store:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def more(sweep: Sweep, factor: float = 1.0) -> Sweep:
    return replace(sweep, metrics=(*sweep.metrics, ForgetCount(factor=factor)))


def test_the_plan_names_evaluations_and_no_trial(sweep: Sweep, store: Store) -> None:
    assert make_plan(sweep, store).complete
    plan = make_plan(more(sweep), store)
    assert not plan.complete
    assert [(study.left, study.ended, study.failed) for study in plan.studies] == [(0, 1, 0)]
    missing = [planned.step for planned in plan.references if not planned.stored]
    missing += [p.step for study in plan.studies for p in study.reports if not p.stored]
    assert [str(step) for step in missing] == [
        "measure forget_count of retrain (seed 1)",
        "measure forget_count of pretrain (seed 1)",
        "measure forget_count of unlearn by finetune (seed 1)",
    ]
    view = plan_view(plan, store.url)
    assert "finetune: 1 trial, nothing searched; in the store 1 complete; 0 to run" in view
    assert f"    measure forget_count of unlearn by finetune (seed 1)  {missing[2].key}" in view
    assert "To run: 2 of 17 reference steps (2 measure), 0 trials, 1 measurements of best" in view


def test_rows_grow_by_it_and_nothing_else_changes(sweep: Sweep, store: Store) -> None:
    def models() -> list[str]:
        return [n for n in store.objects.names("artifacts/") if "/measure/" not in n]

    before, trained = store.read_rows().to_pylist(), models()
    if_merged = store.compact()
    assert if_merged == len(before)
    finish(more(sweep), runtime(store.url))
    assert models() == trained
    after = store.read_rows().to_pylist()
    assert [row["row"] for row in after] == [row["row"] for row in before]
    for old, new in zip(before, after, strict=True):
        kept = [column for column in old if column not in SUMS]
        assert [new[column] for column in kept] == [old[column] for column in kept]
        table_row = new["purpose"] != "tuning"
        assert (new["forget_count"] is not None) == table_row
        key = new["key_measure_forget_count"]
        assert (key is not None) == table_row
        if table_row:
            assert new["forget_count"] == new["forget_count_retrained"]
            record = store.record("measure", key)
            assert record is not None
            assert record.result["values"] == {"forget_count": new["forget_count"]}
    table = comparison(pd.DataFrame(after))
    assert all(line.metrics is not None and "forget_count" in line.metrics for line in table.lines)


def test_one_that_changed_is_measured_again_and_shown(sweep: Sweep, store: Store) -> None:
    finish(more(sweep), runtime(store.url))
    assert make_plan(more(sweep), store).complete
    twice = make_plan(more(sweep, 2.0), store)
    assert not twice.complete
    assert [study.left for study in twice.studies] == [0]
    before = {row["row"]: row for row in store.read_rows().to_pylist()}
    finish(more(sweep, 2.0), runtime(store.url))
    for _ in range(2):
        for row in store.read_rows().to_pylist():
            if row["purpose"] != "tuning":
                old = before[row["row"]]
                for column in ("forget_count", "forget_count_retrained"):
                    assert row[column] == 2 * old[column] > 0
                assert row["key_measure_forget_count"] != old["key_measure_forget_count"]
        store.compact()


def test_what_is_made_of_one_that_changed_changes(store: Store) -> None:
    """Of class sweeps, accuracy on the test set is none of the objective's metrics."""
    metrics = [find(Metric, name)() for name in TUG_OF_WAR]
    grown = {**one_row("finetune", 2, 91.0, 79.0, forget=90.0), "key_measure_test_accuracy": "a"}
    write_grown("row", grown, metrics, store)
    anew = {**one_row("finetune", 2, 91.0, 75.0, forget=90.0), "key_measure_test_accuracy": "b"}
    row = write_grown("row", anew, metrics, store)
    assert row["test_accuracy"] == 75.0
    assert row["tug_of_war"] == pytest.approx(0.9 * 0.99 * 0.95)


def test_one_that_counts_is_another_objective(sweep: Sweep, store: Store) -> None:
    counted = replace(sweep, metrics=(*sweep.metrics, find(Metric, "forget_accuracy")()))
    (study,) = make_plan(counted, store).studies
    assert (study.left, study.past) == (1, [])
    finish(counted, runtime(store.url))
    rows = store.read_rows(references_folder(counted)).to_pylist()
    (original,) = [row for row in rows if row["study"] == "original"]
    gaps = [original[f"{metric.name}_gap"] for metric in counted.metrics]
    assert original["average_gap"] == pytest.approx(sum(gaps) / 3)


@pytest.mark.parametrize("step", SCORED)
def test_a_revision_of_a_step_is_another_study(
    step: type[Step], sweep: Sweep, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(make_plan(sweep, store), store)
    monkeypatch.setattr(step, "revision", 2)
    plan = make_plan(sweep, store)
    (study,) = plan.studies
    assert (study.left, study.past) == (1, [])
    assert not plan.reference_rows
    (change,) = study.changed
    assert str(change) == f"revision of {step.name} changed since 1 stored trial"


def test_what_is_measured_on_some_seeds_is_no_mean_over_all(sweep: Sweep, store: Store) -> None:
    finish(more(sweep), runtime(store.url))
    rows = store.read_rows().to_pylist()
    (reported,) = [row for row in rows if row["purpose"] == "reporting"]
    rows.append({**reported, "seed": 7, "forget_count": None})
    table = comparison(pd.DataFrame(rows))
    assert "forget_count" not in table.headers
    assert "not measured on every seed yet, and left out: forget_count" in table.notes
    named = comparison(pd.DataFrame(rows), measured=["retain_accuracy"])
    assert list(named.headers) == ["retain_accuracy"]
