"""Several studies of one method in one sweep: each under its name, wherever it is shown."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny import SWEEP, finish, runtime, tiny_sweep, trial
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.reporting.status_view import plain_status
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.history import recorded_trials
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_identity, study_key
from unlearn_ray.sweep import main

NAMED = SWEEP.replace(
    "methods:",
    """\
methods:
  strong: {finetune: {epochs: 1, batch_size: 128, learning_rate: 0.5}}
  again: {finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}}""",
)
NAMES = ["strong", "again", "finetune"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep's file and the store of the finished sweep."""
    folder = tmp_path_factory.mktemp("named")
    scored = finish(tiny_sweep(folder, NAMED), runtime(folder / "store"))
    assert not any(one.failure for one in scored)
    return folder


@pytest.fixture(scope="module")
def sweep(place: Path) -> Sweep:
    return tiny_sweep(place, NAMED)


def rows(place: Path) -> pd.DataFrame:
    return results.load(f"{place}/store")


def test_the_key_of_a_study_holds_its_own_name(sweep: Sweep) -> None:
    strong, again, plain = sweep.studies
    assert replace(again, own_name=None) == plain
    assert len({study_key(sweep, study) for study in (strong, again, plain)}) == 3
    named, unnamed = study_identity(sweep, strong), study_identity(sweep, plain)
    assert (named["name"], unnamed["name"]) == ("strong", None)
    assert named["method"] == unnamed["method"] == Finetune.code_identity()


def test_rows_stand_under_the_names_and_say_the_method(place: Path, sweep: Sweep) -> None:
    found = rows(place)
    trials = found[found["purpose"] != "reference"]
    counts = trials.groupby(["study", "method", "study_key"]).size()
    assert dict(counts) == {
        (study.name, "finetune", study_key(sweep, study)): 2 for study in sweep.studies
    }
    references = found[found["purpose"] == "reference"]
    assert set(references["study"]) == {"retrain", "original"}
    assert references["method"].isna().all()
    listed = open_store(f"{place}/store").read_rows().to_pylist()
    for study in sweep.studies:
        assert [one.state for one in recorded_trials(listed, sweep, study)] == ["complete"]


def test_what_two_studies_share_is_run_once(place: Path) -> None:
    store, found = open_store(f"{place}/store"), rows(place)
    assert len(list(store.records(Unlearn.name))) == 4  # two points under two seeds
    keys = {name: set(part["key_unlearn"]) for name, part in found.groupby("study")}
    assert keys["again"] == keys["finetune"]
    assert keys["strong"].isdisjoint(keys["finetune"])
    hours = found.groupby("study")["accelerator_hours_unlearn"].sum()
    assert (hours["finetune"] == 0) & (hours["again"] > 0) & (hours["strong"] > 0)
    measured = found[found["purpose"] == "reporting"].set_index("study")["retain_accuracy"]
    assert measured["again"] == measured["finetune"] != measured["strong"]


def test_who_runs_a_step_says_for_which_study(sweep: Sweep) -> None:
    told = [trial(sweep, study, 0).account.trial for study in sweep.studies]
    assert told == ["trial 0 of strong", "trial 0 of again", "trial 0"]


def test_plan_and_status_name_every_study(place: Path, sweep: Sweep, tmp_path: Path) -> None:
    store = open_store(f"{place}/store")
    finished = plan_view(make_plan(sweep, store), "here")
    fresh = plan_view(make_plan(sweep, open_store(str(tmp_path / "empty"))), "here")
    for name in NAMES:
        assert f"  {name}: 1 trial, nothing searched; in the store 1 complete; 0 to run" in finished
        assert f"  {name}: in the store" in finished
        assert f"  {name}: 1 trial, nothing searched; 1 to run" in fresh
    assert "3 trials" in fresh
    announce(make_plan(sweep, store), store)
    (status,) = sweep_statuses(store, "tiny", Observer())
    assert [(one.name, one.complete, one.reported) for one in status.studies] == [
        (name, 1, 1) for name in NAMES
    ]
    lines = plain_status([status], "here").splitlines()
    assert [line.split()[0] for line in lines if line.endswith("1/1")] == NAMES


def test_the_table_has_a_line_for_each_in_the_files_order(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "unlearn_ray.scheduling.driver", None)
    assert main([str(place / "tiny.yaml"), "--store", f"{place}/store"]) == 0
    out = capfd.readouterr().out
    shown = [line.split()[0].rstrip("*") for line in out.splitlines()[5:10]]
    assert shown == ["retrain", "original", *NAMES]
    for name, rate in (("strong (finetune, trial 0)", "0.5"), ("finetune (trial 0)", "0.01")):
        # Lines that go on are indented.
        whole = out.replace("\n  ", " ").splitlines()
        (line,) = [line for line in whole if line.startswith(f"{name}: ")]
        assert ": batch_size=128, " in line
        assert ", epochs=1, " in line
        assert f"learning_rate={rate}, " in line


def test_results_tell_the_studies_apart(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*command: str) -> str:
        assert results.main([f"{place}/store", *command]) == 0
        return capsys.readouterr().out

    best = {line["study"]: line for line in json.loads(printed("best", "--format", "json"))}
    assert sorted(best) == sorted(NAMES)
    assert best["strong"]["method"] == "finetune"
    assert json.loads(best["strong"]["hyperparameters"])["learning_rate"] == 0.5
    table = {line["study"]: line for line in json.loads(printed("compare", "--format", "json"))}
    assert table["again"]["method"] == "finetune"
    assert table["retrain"]["method"] is None
    sql = "SELECT count(DISTINCT study) AS names FROM rows WHERE method = 'finetune'"
    assert json.loads(printed("query", sql, "--format", "json")) == [{"names": 3}]


def test_a_study_that_is_renamed_is_another_and_trains_nothing(place: Path, sweep: Sweep) -> None:
    strong, again, _ = sweep.studies
    renamed = replace(sweep, studies=(replace(strong, own_name="stronger"), again))
    plan = make_plan(renamed, open_store(f"{place}/store"))
    assert [one.left for one in plan.studies] == [1, 0]
    unlearn = Unlearn(setting=sweep.setting, seed=0, method=plan.studies[0].study.at({}))
    assert open_store(f"{place}/store").record("unlearn", unlearn.key) is not None
