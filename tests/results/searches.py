"""A store with searches of every kind: rows of chosen numbers, as a driver would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.results.rows import RETRAINED, one_row
from tests.tiny import tiny_sweep
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.rows import Scalar, State
from unlearn_ray.studies.study import point_key, row_name, study_key

ONE = """\
name: one
dataset: {digits: {image_size: 8}}
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 8}}
family: simclr
metrics: [retain_accuracy, test_accuracy, forgetting_score]
methods:
  finetune:
    epochs: {log_int: [1, 64]}
    batch_size: {int: [32, 128], step: 32}
    learning_rate: {log_uniform: [0.001, 0.1]}
    optimizer: {choice: [sgd, adam]}
    momentum: {uniform: [0.5, 0.9], step: 0.1, when: {optimizer: sgd}, otherwise: 0.0}
    weight_decay: {grid: [0, 0.0001, 0.01]}
  fixed: {neggrad: {learning_rate: 0.01}}
seeds: {tuning: [1, 0], reporting: [2]}
"""
TWO = """\
name: two
dataset: {digits: {image_size: 8}}
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 8}}
family: simclr
metrics: [retain_accuracy, test_accuracy, forgetting_score]
objective: [average_gap, unlearning_seconds]
constraints: [test_accuracy_gap <= 2]
methods:
  finetune: {learning_rate: {uniform: [0.1, 1]}}
seeds: {tuning: [0], reporting: [2]}
"""
SGD: dict[str, Any] = {
    "batch_size": 96,
    "epochs": 8,
    "learning_rate": 0.0123456789012345,
    "momentum": 0.7,
    "optimizer": "sgd",
    "weight_decay": 0.01,
}
ADAM: dict[str, Any] = {
    "batch_size": 32,
    "epochs": 1,
    "learning_rate": 0.1,
    "optimizer": "adam",
    "weight_decay": 0.0,
}


def write(
    store: Store, sweep: Sweep, study: Study, number: int, point: Mapping[str, Any], seed: int,
    away: float | None = 1.0, **more: Any,
) -> dict[str, Scalar]:  # fmt: skip
    """Write the tuning row of a trial; its accuracies are `away` from the retrained model's."""
    kept = RETRAINED[seed]
    retain, test = (
        None if away is None else kept[name] - away for name in ("retain_accuracy", "test_accuracy")
    )
    options = {name: more.pop(name) for name in ("state", "failure", "created") if name in more}
    method: dict[str, Any] = {
        name: value
        for name, value in vars(study.at(dict(point))).items()
        if name in {**study.fixed, **study.space}
    }
    row = one_row(study.method.name, seed, retain, test, purpose="tuning", sweep=sweep.name,
                  **options, **method)  # fmt: skip
    key = study_key(sweep, study)
    row |= {"study_key": key, "study": study.name, "trial": number, "point": point_key(point)}
    row |= {"objective": sweep.objective.title, "key_unlearn": f"{number}-{seed}", **more}
    store.write_row(row_name(key, sweep.name, "tuning", number, point, seed), row)
    return row


def one_objective(folder: Path) -> Store:
    """Complete, stopped, failed and unfinished trials of the sweep `one`."""
    sweep, store = tiny_sweep(folder, ONE), open_store(str(folder / "store"))
    announce(make_plan(sweep, store), store)
    searched, fixed = sweep.studies
    late = "2026-01-02T00:00:00+00:00"
    write(store, sweep, searched, 0, SGD, 1, away=1.0)
    write(store, sweep, searched, 0, SGD, 0, away=2.0, created=late)
    write(store, sweep, searched, 1, ADAM, 1, away=1.0)  # the next seed still runs
    write(store, sweep, searched, 2, ADAM, 1, away=30.0, state=State.STOPPED)
    broken = {**SGD, "epochs": 64}
    write(store, sweep, searched, 3, broken, 1, away=3.0)
    failure = "loss <b>became</b> NaN"
    write(store, sweep, searched, 3, broken, 0, None, state=State.FAILED, failure=failure)
    for seed in (1, 0):
        write(store, sweep, fixed, 0, {}, seed, away=0.5)
    return store


def two_objectives(folder: Path) -> Store:
    """A sweep with two objectives and a constraint, which its second trial breaks."""
    sweep, store = tiny_sweep(folder, TWO), open_store(str(folder / "store"))
    announce(make_plan(sweep, store), store)
    for number, (away, seconds) in enumerate([(1.0, 9.0), (5.0, 1.0)]):
        of_goals = {"score": away, "score_2": seconds, "constraint_1": away - 2}
        point = {"learning_rate": (number + 1) / 4}
        write(store, sweep, sweep.studies[0], number, point, 0, away=away, **of_goals)
    return store
