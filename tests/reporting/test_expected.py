"""What a plan has a driver run, and what the store tells of how long that takes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_sweep
from unlearn_ray.config.sweep_schema import Resources, Seeds, Workers
from unlearn_ray.monitor.durations import earlier_seconds, kind_of, trial_seconds
from unlearn_ray.reporting.expected import expect, needs, reports_of, trials_of
from unlearn_ray.reporting.progress import SweepProgress
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan, sweep_rows
from unlearn_ray.studies.rows import State


def test_all_of_a_fresh_plan(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    plan = make_plan(sweep, open_store(str(tmp_path / "store")))
    progress = SweepProgress("tiny")
    expect(progress, plan)
    works = progress.works
    (name,) = (study.name for study in sweep.studies)
    trained = [one for one in works.values() if one.asks == "training"]
    assert sum(one.left for one in trained) == 4
    # Each kind is what takes as long, whatever its seed; what is waited for depends on the seed.
    kinds = {kind_of(step(setting=sweep.setting, seed=9)) for step in (Pretrain, Retrain)}
    assert {one.kind for one in trained} == kinds
    tuning = {work for work in works if work.endswith(" for tuning")}
    assert works[trials_of(name)].after == tuning
    assert works[reports_of(name)].after > tuning | {trials_of(name)}
    assert works[trials_of(name)].left == works[reports_of(name)].left == 1
    # Everything that is waited for comes before.
    seen: set[str] = set()
    for work, one in works.items():
        assert one.after <= seen
        seen.add(work)


def test_nothing_of_a_finished_one(finished_sweep: Path) -> None:
    sweep = tiny_sweep(finished_sweep)
    progress = SweepProgress("tiny")
    expect(progress, make_plan(sweep, open_store(str(finished_sweep / "store"))))
    assert sum(one.left for one in progress.works.values()) == 0


def test_the_store_tells_what_was_alike(finished_sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    store, sweep = open_store(str(tmp_path / "store")), tiny_sweep(tmp_path)
    seconds = earlier_seconds(make_plan(sweep, store), store)
    kinds = {kind_of(step(setting=sweep.setting, seed=0)) for step in (Pretrain, Retrain)}
    assert all(len(seconds[kind]) == 2 for kind in kinds)
    assert all(each > 0 for several in seconds.values() for each in several)
    # A sweep of other seeds is told by the same trainings, and by no evaluation.
    others = replace(sweep, seeds=Seeds(tuning=(7,), reporting=(8,)))
    assert earlier_seconds(make_plan(others, store), store).keys() == kinds
    # One whose models are trained otherwise by none.
    longer = replace(sweep.setting, training=replace(sweep.setting.training, epochs=99))
    strange = kind_of(Pretrain(setting=longer, seed=0))
    assert strange not in earlier_seconds(make_plan(replace(sweep, setting=longer), store), store)


def test_rows_tell_what_trials_took(finished_sweep: Path) -> None:
    store, sweep = open_store(str(finished_sweep / "store")), tiny_sweep(finished_sweep)
    (planned,) = make_plan(sweep, store).studies
    rows = sweep_rows(sweep, store)
    ((seconds,),) = trial_seconds(rows, sweep, planned.key, planned.past)
    assert 0 < seconds < 600
    unfinished = [replace(trial, state=State.UNFINISHED) for trial in planned.past]
    assert trial_seconds(rows, sweep, planned.key, unfinished) == []


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (Resources(), "a CPU"),
        (Resources(cpu=2), "2 CPUs"),
        (Resources(gpu=1), "a GPU"),
        (Resources(gpu=0.5), "a GPU"),
        (Resources(workers=Workers(min=2, max=4), gpu=1), "2 GPUs"),
    ],
)
def test_what_a_step_waits_for(resources: Resources, text: str) -> None:
    assert needs(resources) == text
