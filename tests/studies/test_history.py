"""One history: plan, status, ranking, table and driver say the same of every trial."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.results.rows import MACHINE
from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.monitor.manifest import announce, manifests, tuning_seeds
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses
from unlearn_ray.scheduling.shared_study import SharedStudy
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.history import StudyProgress, most_seeds, rows_by_trial
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.rows import Hours, Keys, Origin, Purpose, Seconds, State, row
from unlearn_ray.studies.study import study_key
from unlearn_ray.studies.trial import TrialSeed

SEARCHED = SWEEP.replace("tuning: [0]", "tuning: [0, 1, 2]").replace(
    "reporting: [1]", "reporting: [3]"
)
SEARCHED = SEARCHED.replace("learning_rate: 0.01", "learning_rate: {uniform: [0.01, 0.1]}")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path, f"{SEARCHED}search: {{trials: 2}}\n")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def put(
    sweep: Sweep, store: Store, number: int, seed: int, gap: float, purpose: Purpose = "tuning"
) -> None:
    """A row of a trial that goes on: all of its metrics are `gap` from the retrained model's."""
    point = {"learning_rate": 0.02 + number / 100}
    trial = TrialSeed.of(sweep, sweep.studies[0], number, point, seed, purpose)
    retrained = {column: 90.0 for metric in sweep.metrics for column in metric.columns}
    written = row(
        trial.subject,
        sweep.setting,
        sweep.metrics,
        sweep.objective,
        state=State.COMPLETE,
        values={column: value - gap for column, value in retrained.items()},
        reference=retrained,
        seconds=Seconds(1.0, 1.0, 1.0),
        hours=Hours(1.0, 1.0),
        keys=Keys(original="o", retrained="r"),
        origin=Origin(MACHINE, frozenset({MACHINE}), "here", {}, datetime.now(UTC).isoformat()),
    )
    store.write_row(trial.row_name, written)


def said(store: Store, capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    capsys.readouterr()
    assert results.main([store.url, *command, "--format", "json"]) == 0
    out = capsys.readouterr().out
    return json.loads(out) if out else []


def driven(sweep: Sweep, store: Store) -> SharedStudy:
    (planned,) = make_plan(sweep, store).studies
    return SharedStudy(sweep, planned.study, planned.past, store, "driver", lambda *_: None)


@pytest.mark.parametrize("complete", [0, 1])
def test_a_trial_with_one_of_three_seeds_is_unfinished_for_every_reader(
    complete: int, sweep: Sweep, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is better so far than the complete one, and wins nothing."""
    for seed in sweep.seeds.tuning[: 3 * complete]:
        put(sweep, store, 0, seed, 3.0)
    unfinished = complete
    put(sweep, store, unfinished, 0, 1.0)
    plan = make_plan(sweep, store)
    announce(plan, store)

    states = [*["complete"] * complete, "unfinished"]
    (planned,) = plan.studies
    assert [trial.state for trial in planned.past] == states
    assert (planned.ended, planned.left) == (complete, 2 - complete)

    (status,) = sweep_statuses(store, "tiny", Observer())
    told = StudyProgress(
        "finetune", 2, complete, unfinished=1, best=3.0 if complete else None, to_report=1
    )
    assert status.studies == (told,)
    assert StudyProgress.of("finetune", 2, planned.past, to_report=1) == told  # the driver's view

    study = driven(sweep, store)
    assert study.left == 2 - complete
    assigned = study.next()
    assert assigned is not None
    assert assigned.number == unfinished

    found = said(store, capsys, "query", "SELECT state FROM trials ORDER BY trial")
    assert [line["state"] for line in found] == states
    best = said(store, capsys, "best")
    assert [(line["trial"], line["complete"], line["unfinished"]) for line in best] == (
        [(0, 1, 1)] * complete
    )
    (line,) = said(store, capsys, "compare")
    counts = ", ".join(f"1 {state}" for state in states)
    assert line["note"] == f"no row on a reporting seed (tuning trials: {counts})"

    # Rows of an earlier winner, the newest last.
    for number in range(2):
        put(sweep, store, number, 3, 2.0, "reporting")
    (winner,) = said(store, capsys, "query", "SELECT trial FROM winners")
    if complete:
        assert winner["trial"] == 0


def test_where_no_sweep_says_how_many_seeds_there_are_the_longest_trial_does(
    sweep: Sweep, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, seeds in enumerate((1, 3, 2)):
        for seed in range(seeds):
            put(sweep, store, number, seed, 1.0)
    assert tuning_seeds(manifests(store)) == {}
    assert most_seeds(rows_by_trial(store.read_rows().to_pylist()).values()) == (0, 1, 2)
    found = said(store, capsys, "query", "SELECT state FROM trials ORDER BY trial")
    assert [line["state"] for line in found] == ["unfinished", "complete", "unfinished"]
    announce(make_plan(sweep, store), store)
    assert tuning_seeds(manifests(store)) == {study_key(sweep, sweep.studies[0]): (0, 1, 2)}
