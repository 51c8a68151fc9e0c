"""A metric that comes after a sweep is finished: it is measured, and nothing is searched again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.core.registry import find
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Evidence, Measurement, Metric
from unlearn_ray.pipeline.plan import make_plan
from unlearn_ray.pipeline.steps import Evaluate
from unlearn_ray.pipeline.sweep_schema import Sweep
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.reporting.table import comparison
from unlearn_ray.storage.store import Store, open_store


@schema
class ForgetCount(Metric):
    """How many samples are forgotten."""

    name: ClassVar[str] = "forget_count"
    columns: ClassVar[dict[str, str]] = {"forget_count": "Forgotten"}

    def measure(self, evidence: Evidence) -> Measurement:
        """One value."""
        return Measurement({"forget_count": float(evidence.size("forget"))})


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path)


@pytest.fixture
def store(finished_sweep: Path, tmp_path: Path) -> Store:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def more(sweep: Sweep) -> Sweep:
    return replace(sweep, metrics=(*sweep.metrics, ForgetCount()))


def test_the_plan_names_evaluations_and_no_trial(sweep: Sweep, store: Store) -> None:
    assert make_plan(sweep, store).complete
    plan = make_plan(more(sweep), store)
    assert not plan.complete
    assert [(study.left, study.ended, study.failed) for study in plan.studies] == [(0, 1, 0)]
    missing = [planned.step for planned in plan.references if not planned.stored]
    missing += [p.step for study in plan.studies for p in study.reports if not p.stored]
    assert [str(step) for step in missing] == [
        "evaluate forget_count of retrain (seed 1)",
        "evaluate forget_count of pretrain (seed 1)",
        "evaluate forget_count of unlearn by finetune (seed 1)",
    ]
    view = plan_view(plan, store.url)
    assert "finetune: 1 trials over nothing; in the store 1 complete; 0 to run" in view
    assert f"    evaluate forget_count of unlearn by finetune (seed 1)  {missing[2].key}" in view
    assert "To run: 2 of 9 reference steps, 0 trials, 1 evaluations of best trials." in view


def test_rows_grow_by_it_and_nothing_else_changes(sweep: Sweep, store: Store) -> None:
    def models() -> list[str]:
        return [n for n in store.objects.names("artifacts/") if "/evaluate/" not in n]

    before, trained = store.read_rows().to_pylist(), models()
    if_merged = store.compact()
    assert if_merged == len(before)
    finish(more(sweep), runtime(store.url))
    assert models() == trained
    after = store.read_rows().to_pylist()
    assert [row["row"] for row in after] == [row["row"] for row in before]
    for old, new in zip(before, after, strict=True):
        assert {column: new[column] for column in old} == old
        table_row = new["purpose"] != "tuning"
        assert (new["forget_count"] is not None) == table_row
        key = new["key_evaluate_forget_count"]
        assert (key is not None) == table_row
        if table_row:
            assert new["forget_count"] == new["forget_count_retrained"]
            record = store.record(Evaluate.kind, key)
            assert record is not None
            assert record.result["values"] == {"forget_count": new["forget_count"]}
    table = comparison(pd.DataFrame(after))
    assert all(line.metrics is not None and "forget_count" in line.metrics for line in table.lines)


def test_one_that_counts_is_another_objective(sweep: Sweep, store: Store) -> None:
    counted = replace(sweep, metrics=(*sweep.metrics, find(Metric, "forget_accuracy")()))
    (study,) = make_plan(counted, store).studies
    assert (study.left, study.past) == (1, [])
