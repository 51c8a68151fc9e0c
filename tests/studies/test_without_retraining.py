"""Sweeps that retrain no model: what they run, what rows and tables hold, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import SWEEP, finish, graph, runtime, score_rows, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_file import default_metrics
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.runs import ORIGINAL
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_key
from unlearn_ray.studies.trial import reference_row

MEASURED = "{measured: {aims: {test_accuracy: original, retain_accuracy: maximize}}}"
NONE = f"{SWEEP}retrained: none\nobjective: {MEASURED}\n"
UNTUNED = NONE.replace("tuning: [0]", "tuning: []")


def kinds(sweep: Sweep, store: Path) -> dict[str, int]:
    """How many steps of each kind a plan has to run."""
    plan = make_plan(sweep, open_store(str(store)))
    return dict(Counter(one.step.name for one in plan.references if not one.stored))


def answer(capsys: pytest.CaptureFixture[str], store: Path, *arguments: str) -> str:
    assert results.main([str(store), *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a finished sweep: one tuning seed, two reporting seeds, two studies."""
    folder = tmp_path_factory.mktemp("none")
    text = NONE.replace("reporting: [1]", "reporting: [1, 2]").replace(
        "seeds:", "  idle: {finetune: {epochs: 0}}\nseeds:"
    )
    finish(tiny_sweep(folder, text), runtime(folder / "store"))
    return folder / "store"


# Plans


def test_no_model_is_retrained(tmp_path: Path) -> None:
    sweep, store = tiny_sweep(tmp_path, NONE), tmp_path / "store"
    assert kinds(sweep, store) == {"pretrain": 2, "samples": 2, "observe": 2, "measure": 4}
    # Neither is the original of a tuning seed measured, unless the objective reads it.
    other = tiny_sweep(tmp_path, NONE.replace("test_accuracy: original", "test_accuracy: 90"))
    assert kinds(other, store) == {"pretrain": 2, "samples": 1, "observe": 1, "measure": 2}
    plan = plan_view(make_plan(sweep, open_store(str(store))), "here")
    assert "  no retrained model: nothing will be compared with retraining\n" in plan
    assert " retrain (" not in plan


def test_one_seed_is_enough_where_nothing_is_searched(tmp_path: Path) -> None:
    sweep, store = tiny_sweep(tmp_path, UNTUNED), tmp_path / "store"
    assert kinds(sweep, store) == {"pretrain": 1, "samples": 1, "observe": 1, "measure": 2}
    plan = plan_view(make_plan(sweep, open_store(str(store))), "here")
    assert "Studies (no tuning seeds: nothing is searched):\n  finetune: reported as it is" in plan
    assert "Reporting (seeds 1):\n" in plan
    here = runtime(store)
    (scored,) = finish(sweep, here)
    assert (scored.row["purpose"], scored.row["seed"], scored.row["trial"]) == ("reporting", 1, 0)
    assert make_plan(sweep, here.store).complete


def test_one_seed_with_retraining(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, SWEEP.replace("tuning: [0]", "tuning: []"))
    assert kinds(sweep, tmp_path / "store")["retrain"] == 1
    (scored,) = finish(sweep, runtime(tmp_path / "store"))
    assert scored.score == scored.row["average_gap"]


def test_models_are_shared_with_sweeps_that_retrain(tmp_path: Path) -> None:
    here = runtime(tmp_path / "store")
    without = tiny_sweep(tmp_path, NONE)
    finish(without, here)
    retraining = tiny_sweep(tmp_path, SWEEP)
    assert kinds(retraining, tmp_path / "store") == {"retrain": 2, "observe": 2, "measure": 4}
    scored = finish(retraining, here)
    assert all(one.row["accelerator_hours_unlearn"] == 0 for one in scored)
    # Yet no row of the one is taken for the other's, which has gaps.
    assert all(one.row["average_gap"] is not None for one in scored)


def test_only_a_sweep_without_retraining_has_another_identity(tmp_path: Path) -> None:
    usual, named = (tiny_sweep(tmp_path, text) for text in (SWEEP, f"{SWEEP}retrained: train\n"))
    measured = f"{SWEEP}objective: {MEASURED}\n"
    compared, alone = (tiny_sweep(tmp_path, text) for text in (measured, NONE))
    keys = [study_key(one, one.studies[0]) for one in (usual, named, compared, alone)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


# Rows and tables


def test_rows_hold_values_and_no_gaps(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(answer(capsys, store, "query", "SELECT * FROM rows", "--format", "json"))
    assert Counter(row["purpose"] for row in rows) == {"tuning": 2, "reporting": 4, "reference": 2}
    for row in rows:
        compared = [name for name in row if name.endswith(("_gap", "_retrained"))]
        compared += ["average_gap_percentage", "tug_of_war", "retraining_compute_seconds"]
        assert all(row[name] is None for name in compared), row["study"]
        assert row["study"] == "original" or row["key_unlearn"]
        assert row["key_original"]
        far = abs(row["test_accuracy"] - row["test_accuracy_original"])
        assert row["score"] == pytest.approx((far - row["retain_accuracy"]) / 2)
    idle = [row for row in rows if row["study"] in ("idle", "original") and row["seed"] == 1]
    assert len({row["score"] for row in idle}) == 1


def test_the_table_says_that_nothing_was_compared(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = answer(capsys, store, "compare")
    assert "mean ± std over seeds 1, 2; not compared with retraining\n" in text
    header = next(line for line in text.splitlines() if line.startswith("Method"))
    assert header.split() == ["Method", "RA", "TA", "RTE", "(CPU", "s)"]
    names = [line.split()[0] for line in text.splitlines() if "±" in line][1:]
    assert names == ["original", "finetune", "idle"]
    assert "nothing was compared with retraining, so there are no gaps and no verdicts" in text
    assert "Gap" not in text
    assert "seeds.replicates" not in text
    shown = answer(capsys, store, "compare", "--format", "markdown")
    assert "| Method | RA | TA | RTE (CPU s) |" in shown


@pytest.mark.parametrize("merged", [False, True])
def test_every_view_answers(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, merged: bool
) -> None:
    if merged:
        answer(capsys, store, "compact")
    for command in ("compare", "best"):
        (first, *_) = json.loads(answer(capsys, store, command, "--format", "json"))
        assert first["sweep"] == "tiny"
    (best, _) = json.loads(answer(capsys, store, "best", "--format", "json"))
    assert best["study"] in ("finetune", "idle")
    assert best["mean_average_gap"] is None
    for view, count in (("winners", 2), ("trials", 2), ("references", 2)):
        rows = answer(capsys, store, "query", f"SELECT * FROM {view}", "--format", "json")
        assert len(json.loads(rows)) == count
    power: list[dict[str, Any]] = json.loads(
        answer(capsys, store, "power", "tiny", "--format", "json")
    )
    assert [(row["study"], row["metric"]) for row in power] == [
        (study, metric)
        for metric in ("retain_accuracy", "test_accuracy")
        for study in (ORIGINAL, "finetune", "idle")
    ]
    assert all(row["splits"] == 2 and row["half_width"] > 0 for row in power)
    assert all(row["floor"] is None for row in power)
    floors = answer(capsys, store, "power", "tiny", "--unit", "floors", "--format", "json")
    assert all(row["splits_needed"] is None for row in json.loads(floors))


def test_views_of_one_seed_without_tuning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tiny_sweep(tmp_path, UNTUNED), runtime(tmp_path / "store"))
    store = tmp_path / "store"
    assert "finetune" in answer(capsys, store, "compare")
    assert answer(capsys, store, "best") == ""
    (winner,) = json.loads(
        answer(capsys, store, "query", "SELECT * FROM winners", "--format", "json")
    )
    assert (winner["study"], winner["trial"], winner["runs"]) == ("finetune", 0, 1)
    assert answer(capsys, store, "query", "SELECT count(*) FROM trials", "--format", "csv")
    assert answer(capsys, store, "power", "tiny")


def test_a_metric_that_is_added_later(tmp_path: Path) -> None:
    here = runtime(tmp_path / "store")
    finish(tiny_sweep(tmp_path, UNTUNED), here)
    more = UNTUNED.replace("[retain_accuracy, test", "[forget_accuracy, retain_accuracy, test")
    (scored,) = finish(tiny_sweep(tmp_path, more), here)
    assert scored.row["forget_accuracy"] is not None
    assert scored.row["forget_accuracy_original"] is not None


def test_replicates_and_a_bank(tmp_path: Path) -> None:
    text = (
        UNTUNED.replace("simclr", "supervised")
        .replace("reporting: [1]", "reporting: [1]\n  replicates: 2")
        .replace("methods:", "scores: [u_lira]\nbank: {models: 12, samples: 40}\nmethods:")
    )
    sweep = tiny_sweep(tmp_path, text)
    assert sweep.bank is not None
    assert not sweep.bank.retrained
    assert "retrain" not in kinds(sweep, tmp_path / "store")
    assert [row.subject.study for row in score_rows(sweep)] == ["original", "finetune"]
    finish(sweep, runtime(tmp_path / "store"))


def test_a_row_of_the_retrained_model_is_not_written(tmp_path: Path) -> None:
    sweep, here = tiny_sweep(tmp_path, UNTUNED), runtime(tmp_path / "store")
    finish(sweep, here)
    assert sweep.reference_models == (ORIGINAL,)
    _, row = reference_row(sweep, 1, ORIGINAL, graph(here))
    assert row["key_retrained"] is None
    assert row["state"] == "complete"


# What is refused


def refused(folder: Path, text: str) -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        tiny_sweep(folder, text)
    return str(caught.value)


def test_an_objective_must_be_named(tmp_path: Path) -> None:
    said = refused(tmp_path, f"{SWEEP}retrained: none\n")
    assert "tiny.yaml:15: retrained = none: the default objective, average_gap, compares" in said
    assert "name an objective among measured, as in objective: {measured: " in said
    assert "may be of retain_accuracy, test_accuracy), or set retrained to train" in said


@pytest.mark.parametrize("bound", ["test_accuracy_gap <= 1", "average_gap <= 5"])
def test_a_bound_on_a_gap(tmp_path: Path, bound: str) -> None:
    said = refused(tmp_path, f"{NONE}constraints: [{bound}]\n")
    assert f"{bound.split()[0]} is a distance from retrained models" in said
    assert tiny_sweep(tmp_path, f"{NONE}constraints: [test_accuracy >= 20]\n").studies


@pytest.mark.parametrize(
    "objective", ["average_gap", "average_excess", "{weighted_gap: {weights: {test_accuracy: 1}}}"]
)
def test_an_objective_of_gaps(tmp_path: Path, objective: str) -> None:
    said = refused(tmp_path, f"{SWEEP}retrained: none\nobjective: {objective}\n")
    name = objective.strip("{").split(":")[0]
    assert "tiny.yaml:16: objective" in said
    assert f"{name} compares with retrained models, and retrained is none; name an" in said


def test_metrics_that_compare_with_retraining(tmp_path: Path) -> None:
    named = NONE.replace("simclr", "supervised").replace(
        "test_accuracy]", "test_accuracy, completeness, js_divergence]"
    )
    said = refused(tmp_path, named)
    assert "completeness, js_divergence: they compare with retrained models" in said
    assert "name metrics among" in said
    assert "zrf" in said.split("among")[1]
    assert "completeness" not in said.split("among")[1]


def test_default_metrics_leave_out_what_needs_retraining(tmp_path: Path) -> None:
    text = UNTUNED.replace("metrics: [retain_accuracy, test_accuracy]\n", "")
    metrics = tiny_sweep(tmp_path, text).metrics
    assert metrics == default_metrics(compares=False)
    assert not [metric.name for metric in metrics if metric.needs().retrained]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("scores: [tow]\n", "tow: they compare with retrained models.*name scores of a bank among"),
        ("bank: {models: 8, samples: 40, retrained: true}\n", "bank.retrained = true: the sweep's"),
        ("budget: {hours: 1}\nretrained: nothing\n", "retrained = nothing: must be 'train' or"),
    ],
)
def test_what_else_needs_retraining(tmp_path: Path, added: str, message: str) -> None:
    text = NONE.replace("simclr", "supervised").replace(
        "reporting: [1]", "reporting: [1]\n  replicates: 3"
    )
    if "retrained: nothing" in added:
        text = text.replace("retrained: none\n", "")
    with pytest.raises((ConfigError, ConfigErrors), match=message):
        tiny_sweep(tmp_path, text + added)


def test_several_retrained_models_of_a_tuning_seed(tmp_path: Path) -> None:
    text = NONE.replace("tuning: [0]", "tuning: [0]\n  tuning_replicates: 3")
    assert "seeds.tuning_replicates = 3: these are retrained models" in refused(tmp_path, text)


SEARCHED = "learning_rate: {log_uniform: [0.001, 0.1]}"


@pytest.mark.parametrize(
    ("seeds", "field", "message"),
    [
        ("tuning: []", SEARCHED, r"no seeds, and finetune.learning_rate to be searched"),
        ("tuning: [1]", SEARCHED, r"make tuning and reporting seeds disjoint$"),
        ("tuning: [1]", "learning_rate: 0.01", r"or add `tuning: \[\]`, as nothing is searched$"),
        ("tuning_replicates: 1", "learning_rate: 0.01", r"1 also among .*or add `tuning: \[\]`"),
    ],
)
def test_a_search_needs_tuning_seeds(tmp_path: Path, seeds: str, field: str, message: str) -> None:
    text = SWEEP.replace("tuning: [0]", seeds).replace("learning_rate: 0.01", field)
    with pytest.raises((ConfigError, ConfigErrors), match=message):
        tiny_sweep(tmp_path, text)


def test_reporting_seeds_are_always_needed(tmp_path: Path) -> None:
    said = refused(tmp_path, UNTUNED.replace("reporting: [1]", "reporting: []"))
    assert "seeds.reporting" in said
    assert "no seeds; give at least one" in said
