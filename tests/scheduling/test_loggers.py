"""Loggers: what TensorBoard and MLflow show of a sweep, and what is found out before it starts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import SWEEP, Driver, rows, table, write_sweep
from tests.tiny import SWEEP as TINY
from tests.tiny import run_references, runtime, tiny_sweep, trial
from unlearn_ray.core.errors import BadInput
from unlearn_ray.loggers.wandb import WeightsAndBiases
from unlearn_ray.storage.curves import loss_curve
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.trial import score

METRICS = SWEEP["metrics"]


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The scalars of a folder's event files by tag and step."""
    found: dict[str, dict[int, float]] = {}
    for file in folder.glob("events.out.tfevents.*"):
        for event in events(file.read_bytes()):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def apart(found: dict[str, Any], before: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """What is of seeds, and what is of iterations."""
    curves = (f"{before}loss/", f"{before}learning_rate/")
    points = {name: of for name, of in found.items() if name.startswith(curves)}
    return {name: of for name, of in found.items() if name not in points}, points


def events(data: bytes) -> Iterator[Event]:
    """The records of an event file: length and checksum before, checksum behind each."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_trial_is_a_run_that_shows_what_its_rows_say(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    from mlflow import MlflowClient

    database = f"sqlite:///{tmp_path}/mlflow.db"
    loggers = [
        {"tensorboard": {"folder": str(tmp_path / "runs")}},
        {"mlflow": {"tracking_uri": database, "experiment": "tried"}},
    ]
    file = write_sweep(tmp_path, log=loggers)
    store = uninterrupted.trained_references(tmp_path / "store")
    with Driver(file, store) as driver:
        driver.ends(0)
        assert table(driver.out) == uninterrupted.table
        assert "mlflow" not in driver.err.lower()
    assert rows(store) == uninterrupted.rows  # keys included: loggers play no part in them

    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("tried")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    trials = [row for row in rows(store) if row["purpose"] == "tuning"]
    assert len(trials) == 6
    assert {f"{row['study']}-{row['trial']:06d}" for row in trials} == set(runs)
    for row in trials:
        name = f"{row['study']}-{row['trial']:06d}"
        expected: dict[str, Any] = {"mean_score": row["score"], "seeds_run": 1}
        for metric in METRICS:
            expected[f"value/{metric}"] = row[metric]
            expected[f"gap/{metric}"] = row[f"{metric}_gap"]

        run = runs[name]
        assert run.info.status == "FINISHED"
        assert run.data.tags["sweep"] == "tiny"
        assert run.data.params["study"] == row["study"]
        assert run.data.params["trial"] == str(row["trial"])
        parameters = run.data.params
        assert float(parameters["hyperparameters/learning_rate"]) == row["hp_learning_rate"]
        assert parameters["hyperparameters/epochs"] == "1"
        numbers, last = apart(run.data.metrics)
        assert numbers == pytest.approx(expected | {"training_iteration": 1})
        curve = loss_curve(open_store(str(store)), row["key_unlearn"])
        curves = {f"{of}/seed_{row['seed']}": curve[of] for of in ("loss", "learning_rate")}
        assert last == pytest.approx({of: values.iloc[-1] for of, values in curves.items()})

        shown, points = apart(scalars(tmp_path / "runs" / "tiny" / name), "ray/tune/")
        assert points == {
            f"ray/tune/{of}": pytest.approx(dict(zip(curve["iteration"], values, strict=True)))
            for of, values in curves.items()
        }
        assert {tag: list(steps) for tag, steps in shown.items()} == {
            f"ray/tune/{name}": [1] for name in expected
        }
        seen = {tag.removeprefix("ray/tune/"): steps[1] for tag, steps in shown.items()}
        assert seen == pytest.approx(expected, rel=1e-6)


def logged(folder: Path, log: str) -> Any:
    return tiny_sweep(folder, f"{TINY}log: {log}\n")


def test_a_missing_package_is_found_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unlearn_ray.scheduling.loggers import check_loggers

    monkeypatch.setattr(WeightsAndBiases, "package", "not_there")
    with pytest.raises(BadInput) as refused:
        check_loggers(logged(tmp_path, "wandb"))
    assert str(refused.value) == (
        "log = wandb: the package not_there is not installed;"
        ' pip install "unlearn_ray[wandb]", or leave the logger out'
    )


def test_a_store_that_mlflow_refuses_is_found_before_anything_is_spent(tmp_path: Path) -> None:
    from unlearn_ray.scheduling.loggers import check_loggers

    with pytest.raises(BadInput, match=r"^log = mlflow: "):
        check_loggers(logged(tmp_path, f"{{mlflow: {{tracking_uri: 'file:{tmp_path}/ml'}}}}"))


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_spent(tmp_path: Path) -> None:
    from unlearn_ray.scheduling.loggers import check_loggers

    (tmp_path / "runs").write_text("a file")
    with pytest.raises(BadInput, match=r"^log = tensorboard: .*Not a directory"):
        check_loggers(logged(tmp_path, f"{{tensorboard: {{folder: {tmp_path}/runs}}}}"))


def test_loss_curves_have_iterations_as_steps(tmp_path: Path) -> None:
    """Without a cluster: the callbacks are told of a trial of Tune's as its loop tells them."""
    from mlflow import MlflowClient
    from ray.tune.experiment import Trial

    from unlearn_ray.scheduling.loggers import callbacks
    from unlearn_ray.scheduling.search import CURVE
    from unlearn_ray.scheduling.studies import curve_points

    here = runtime(tmp_path / "store")
    database = f"sqlite:///{tmp_path}/mlflow.db"
    files = f"tensorboard: {{folder: {tmp_path}/runs}}"
    sweep = logged(tmp_path, f"[{{{files}}}, {{mlflow: {{tracking_uri: '{database}'}}}}]")
    run_references(sweep, 0, here)
    scored = score(trial(sweep, sweep.studies[0], 0), here)
    points = curve_points(scored.row, here.store)
    curve = loss_curve(here.store, str(scored.row["key_unlearn"]))
    assert len(points) == 2 * len(curve) > 2
    assert {name for name, *_ in points} == {"loss/seed_0", "learning_rate/seed_0"}
    assert curve_points({**scored.row, "key_unlearn": "0" * 16}, here.store) == []

    told = Trial("unlearning", stub=True)
    result = {"training_iteration": 1, "mean_score": 0.5, CURVE: points}
    for callback in callbacks(sweep):
        callback.setup()
        callback.log_trial_start(told)
        callback.log_trial_result(1, told, result)
        callback.log_trial_end(told)
    expected = dict(zip(curve["iteration"], curve["loss"], strict=True))
    shown = scalars(tmp_path / "runs" / "tiny" / str(told))
    assert shown["ray/tune/loss/seed_0"] == pytest.approx(expected, rel=1e-6)
    assert list(shown["ray/tune/mean_score"]) == [1]
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss/seed_0")
    assert {one.step: one.value for one in history} == expected
