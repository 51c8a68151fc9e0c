"""Budgets: in the file, in a plan, and what a sweep has spent of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, graph, run, runtime, tiny_sweep, trial
from unlearn_ray.config.sweep_schema import Budget, Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import Plan, make_plan, reference_steps
from unlearn_ray.studies.spending import Spending
from unlearn_ray.studies.trial import reference_row, score

TWO = SWEEP.replace("0.01}", "{choice: [0.01, 0.02]}}") + "search: {trials: 3}\n"


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("sweep"), TWO)


@pytest.fixture(scope="module")
def trained(unlimited: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that a sweep wants but trials."""
    folder = tmp_path_factory.mktemp("trained")
    here = runtime(folder)
    for seed in (0, 1):
        for step in reference_steps(unlimited, seed):
            run(step, here)
    for method in (RETRAIN, ORIGINAL):
        written = reference_row(unlimited, 1, method, graph(here))
        here.store.write_row(*written)
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> str:
    shutil.copytree(trained, tmp_path / "store")
    return str(tmp_path / "store")


def with_budget(sweep: Sweep, hours: float) -> Sweep:
    return replace(sweep, budget=Budget(hours=hours))


def planned(sweep: Sweep, store: str, hours: float = 1e9) -> Plan:
    return make_plan(with_budget(sweep, hours), open_store(store))


def run_trial(sweep: Sweep, store: str, number: int, seed: int) -> float:
    study = sweep.studies[0]
    point = {"learning_rate": 0.01 if number % 2 == 0 else 0.02}
    fixed = replace(study, fixed={**study.fixed, **point}, space={})
    asked = replace(trial(sweep, fixed, seed), number=number, point=point)
    # The study is that which searches.
    asked = replace(asked, study=make_plan(sweep, open_store(store)).studies[0].key)
    return score(asked, runtime(store)).accelerator_hours


# The file


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "many"])
def test_a_budget_is_more_than_nothing(hours: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: budget.hours = .*{hours}"):
        tiny_sweep(tmp_path, f"{SWEEP}budget: {{hours: {hours}}}\n")


def test_a_misspelt_budget(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget.hour: unknown field; did you mean hours\?"):
        tiny_sweep(tmp_path, f"{SWEEP}budget: {{hour: 3}}\n")


def test_a_budget_changes_no_key(tmp_path: Path, unlimited: Sweep) -> None:
    limited = tiny_sweep(tmp_path, f"{TWO}budget: {{hours: 20}}\n")
    assert limited.budget == Budget(hours=20.0)
    assert unlimited.budget == Budget(hours=None)
    store = open_store(str(tmp_path / "store"))
    one, other = (make_plan(sweep, store) for sweep in (limited, unlimited))
    assert [p.step.key for p in one.references] == [p.step.key for p in other.references]
    assert [study.key for study in one.studies] == [study.key for study in other.studies]


# What was spent


def test_an_item_counts_once() -> None:
    spending = Spending()
    spending.note("step", 2.0)
    spending.note("row", 0.5)
    spending.note("step", 3.0)
    assert spending.total == 3.5


def test_references_and_rows_of_this_sweep_are_spent(unlimited: Sweep, store: str) -> None:
    references = planned(unlimited, store).spending.total
    opened = open_store(store)
    steps = [step for seed in (0, 1) for step in reference_steps(unlimited, seed)]
    records = opened.read_records((step.name, step.key) for step in steps).values()
    assert references == pytest.approx(sum(record.accelerator_hours for record in records))
    assert len(records) == len(steps)
    first = run_trial(unlimited, store, 0, 0)
    assert planned(unlimited, store).spending.total == pytest.approx(references + first)
    assert run_trial(unlimited, store, 2, 0) == 0  # the same hyperparameters again
    assert planned(unlimited, store).spending.total == pytest.approx(references + first)
    assert planned(replace(unlimited, name="other"), store).spending.total == 0


# The plan


def test_a_spent_budget_leaves_only_reports(unlimited: Sweep, store: str) -> None:
    assert planned(unlimited, store).studies[0].left == 3
    run_trial(unlimited, store, 0, 0)
    spent = planned(unlimited, store).spending.total
    plan = planned(unlimited, store, hours=spent)
    (study,) = plan.studies
    assert (study.left, study.ended, study.wanted, study.reported) == (0, 1, 3, False)
    assert not plan.complete
    text = plan_view(plan, store)
    assert f"Budget: {spent:.2f} of {spent:g} accelerator hours spent; 2 trials are not" in text
    assert "finetune: up to 1 runs" in text
    assert "To run: 0 of 15 reference steps, 0 trials." in text
    run_trial(unlimited, store, 0, 1)
    done = planned(unlimited, store, hours=spent)
    assert done.complete
    assert plan_view(done, store).endswith("Nothing is left to run.")
    more = planned(unlimited, store, hours=100.0)
    assert not more.complete
    assert more.studies[0].left == 2
    assert "To run: 0 of 15 reference steps, 2 trials." in plan_view(more, store)


def test_a_budget_that_references_spend_ends_a_sweep_without_a_trial(
    unlimited: Sweep, store: str
) -> None:
    plan = planned(unlimited, store, hours=1e-9)
    assert plan.complete
    assert "; 3 trials are not launched." in plan_view(plan, store)


def test_without_a_budget_nothing_is_said(unlimited: Sweep, store: str) -> None:
    plan = make_plan(unlimited, open_store(store))
    assert plan.spending.total == 0
    assert "Budget" not in plan_view(plan, store)
