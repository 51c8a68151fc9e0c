"""What can go wrong while steps run: each a clear error, nothing stored damaged, and a way on.

Steps run in this process, as they do in a worker; the last test lets Ray run them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, finish, run, run_references, runtime, tiny_sweep, trial
from unlearn_ray import results, sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import (
    CorruptObject,
    Exit,
    MissingObject,
    NonFiniteLoss,
    StopRequested,
    StoreFull,
    UnlearnRayError,
)
from unlearn_ray.core.registry import find
from unlearn_ray.models.base import Model
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import Store, Work, open_store
from unlearn_ray.studies.trial import score
from unlearn_ray.train.loop import Progress

# What the store is called, and what a sweep says of itself.
BY_EVERY_RUN = ("identity", "sweeps/", "studies/", "claims/")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with both reference models of seed 0."""
    folder = tmp_path_factory.mktemp("trained")
    run_references(tiny_sweep(folder), 0, runtime(folder / "store"))
    return folder


@pytest.fixture
def tiny(trained: Path, tmp_path: Path) -> Sweep:
    shutil.copytree(trained / "store", tmp_path / "store")
    return tiny_sweep(tmp_path)


@pytest.fixture
def store(tiny: Sweep, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def contents(store: Store) -> dict[str, bytes]:
    """Everything but leases, which are taken before a step fails."""
    names = [name for name in store.objects.names("") if not name.startswith("leases/")]
    return {name: store.objects.read(name) for name in names}


def weights(store: Store, step: Pretrain) -> str:
    """The object that holds a step's model."""
    record = store.record(step.name, step.key)
    assert record is not None
    return record.files["model.safetensors"].name


def truncate(store: Store, name: str) -> None:
    store.objects.write(name, store.objects.read(name)[:-100])


def alter(store: Store, name: str) -> None:
    data = store.objects.read(name)
    store.objects.write(name, data[:-1] + bytes([data[-1] ^ 1]))


def lose(store: Store, name: str) -> None:
    store.objects.delete(name)


# Weights


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (truncate, CorruptObject, r"has \d+ bytes, \d+ were written"),
        (alter, CorruptObject, r"was altered \(SHA-256 differs\)"),
        (lose, MissingObject, "no object artifacts/pretrain/.*"),
    ],
)
def test_damaged_weights(
    damage: Callable[[Store, str], None],
    error: type[UnlearnRayError],
    message: str,
    tiny: Sweep,
    store: Store,
) -> None:
    original = Pretrain(setting=tiny.setting, seed=0)
    good = contents(store)
    damage(store, weights(store, original))
    before = contents(store)
    wanted = trial(tiny, tiny.studies[0], 0)
    remedy = f"delete records/pretrain/{original.key}.json from {store.url} and run again"
    with pytest.raises(error, match=f"model.safetensors of pretrain .*{message}; {remedy}"):
        score(wanted, runtime(store.url))
    assert contents(store) == before
    # The remedy.
    store.objects.delete(f"records/pretrain/{original.key}.json")
    run(original, runtime(store.url))
    assert store.objects.read(weights(store, original)) in good.values()
    assert score(wanted, runtime(store.url)).failure is None


MISMATCH = r"do not fit the model: size mismatch for backbone\..*; delete the step's record"


def test_weights_of_another_model(tiny: Sweep, store: Store) -> None:
    other = replace(tiny.setting, model=find(Model, "resnet8")(width=8))
    mine, theirs = (Pretrain(setting=setting, seed=0) for setting in (tiny.setting, other))
    record = store.record("pretrain", mine.key)
    assert record is not None
    files = {"model.safetensors": store.read_artifact(record, "model.safetensors")}
    uploaded = store.put_artifact("pretrain", theirs.key, files)
    store.complete(replace(record, key=theirs.key, files=uploaded))
    with pytest.raises(CorruptObject, match=MISMATCH) as caught:
        runtime(store.url).model(theirs)
    assert "\n" not in str(caught.value)


def test_damaged_record(tiny: Sweep, store: Store) -> None:
    step = measures(Retrain(setting=tiny.setting, seed=0), tiny.scored_by)[0]
    name = f"records/measure/{step.key}.json"
    store.objects.write(name, store.objects.read(name)[:50])
    said = f"{name}: not a valid record: .*delete that object and run"
    with pytest.raises(CorruptObject, match=said):
        score(trial(tiny, tiny.studies[0], 0), runtime(store.url))
    assert store.records("unlearn") == []
    store.objects.delete(name)
    assert run(step, runtime(store.url)).ran


def test_missing_inputs_are_made(tiny: Sweep, store: Store) -> None:
    unlearn = Unlearn(setting=tiny.setting, seed=1, method=tiny.studies[0].at({}))
    assert run(unlearn, runtime(store.url)).ran
    assert store.record("pretrain", unlearn.original.key) is not None
    assert score(trial(tiny, tiny.studies[0], 1), runtime(store.url)).failure is None


# Checkpoints


def interrupted(step: Pretrain, store: Store) -> str:
    """Stop a training in its middle; returns the object that holds its checkpoint."""

    def stop(key: str, name: str, progress: Progress) -> bool:
        raise StopRequested(name, "the sweep is being stopped", "run it again to resume")

    stopped = runtime(store.url)
    stopped.on_progress = stop
    with pytest.raises(StopRequested):
        run(step, stopped)
    assert store.record(step.name, step.key) is None
    (checkpoint,) = store.objects.names(f"checkpoints/{step.key}/")
    return checkpoint


@pytest.fixture
def again(tiny: Sweep, store: Store) -> tuple[Pretrain, bytes]:
    """A step that is to be trained again, and the weights that must come out."""
    step = Pretrain(setting=tiny.setting, seed=0)
    expected = store.objects.read(weights(store, step))
    store.objects.delete(f"records/pretrain/{step.key}.json")
    return step, expected


def test_lost_checkpoint(again: tuple[Pretrain, bytes], store: Store) -> None:
    step, expected = again
    store.objects.delete(interrupted(step, store))
    assert run(step, runtime(store.url)).ran
    assert store.objects.read(weights(store, step)) == expected


@pytest.mark.parametrize("damage", [truncate, alter])
def test_damaged_checkpoint(
    damage: Callable[[Store, str], None], again: tuple[Pretrain, bytes], store: Store
) -> None:
    step, expected = again
    checkpoint = interrupted(step, store)
    damage(store, checkpoint)
    with pytest.raises(
        CorruptObject, match=f"{checkpoint}: its content was altered.*; delete it and"
    ):
        run(step, runtime(store.url))
    assert store.record(step.name, step.key) is None
    store.objects.delete(checkpoint)
    run(step, runtime(store.url))
    assert store.objects.read(weights(store, step)) == expected


# Disk


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    text = SWEEP.replace("training: {epochs: 1", "training: {epochs: 0")
    big = tiny_sweep(tmp_path, text.replace("width: 4", "width: 64")).setting
    here = runtime(small_disk / "store")
    with pytest.raises(StoreFull, match="; free space there, then run again") as caught:
        run(Pretrain(setting=big, seed=0), here)
    assert str(small_disk) in caught.value.subject
    assert here.store.records("pretrain") == []
    assert here.store.objects.names("artifacts/") == []
    assert not list((small_disk / "store" / ".unfinished").iterdir())
    # The lease is free again, and what fits can be stored.
    lease = here.store.lease(Pretrain(setting=big, seed=0).key, Work("pretrain"))
    assert lease is not None
    lease.release()
    small = Pretrain(setting=tiny_sweep(tmp_path, text).setting, seed=0)
    assert run(small, here).ran
    assert here.store.records("pretrain") == [small.key]


# Numbers


def test_nan_loss(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The trial fails with a row that says so; the sweep's other methods go on."""
    text = SWEEP.replace("seeds:", "  gradient_ascent: {epochs: 3, learning_rate: 1.0e+30}\nseeds:")
    both = tiny_sweep(tmp_path, text)
    scored = finish(both, runtime(tmp_path / "store"))
    assert [one.failure is None for one in scored] == [True, False, True]
    (failed,) = (one for one in scored if one.failure)
    assert "NaN or infinite" in str(failed.failure)
    assert "; lower the learning rate" in str(failed.failure)
    assert (failed.row["state"], failed.row["failure"]) == ("failed", failed.failure)
    assert failed.row["average_gap"] is None
    assert len(open_store(str(tmp_path / "store")).records("unlearn")) == 2

    assert sweep.main([str(tmp_path / "tiny.yaml"), "--store", str(tmp_path / "store")]) == 1
    said = capfd.readouterr()
    assert "Nothing to train" in said.err
    table = said.out.splitlines()
    assert any(line.startswith("finetune ") for line in table)
    notes = " ".join(said.out.partition("\nNotes\n")[2].split())  # in lines of a hundred columns
    assert re.search("gradient_ascent: .*NaN or infinite", notes)
    sql = "SELECT state, failure FROM rows WHERE study = 'gradient_ascent'"
    assert results.main([str(tmp_path / "store"), "query", sql, "--format", "csv"]) == 0
    assert "failed,loss within the first" in capfd.readouterr().out.replace('"', "")


def test_nan_loss_of_a_reference(tmp_path: Path) -> None:
    text = SWEEP.replace("{epochs: 1, batch_size: 128}\n", "{learning_rate: 1.0e+30}\n", 1)
    step = Pretrain(setting=tiny_sweep(tmp_path, text).setting, seed=0)
    here = runtime(tmp_path / "store", checkpoint_seconds=0)
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        run(step, here)
    assert here.store.records("pretrain") == []
    assert here.store.objects.names("artifacts/") == []


# As a command, with Ray


def told_by_a_run(folder: Path, store: Store, status: int = Exit.SOME_FAILED) -> str:
    """Run the sweep, which must fail in words; returns them."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "unlearn_ray.sweep", str(folder / "tiny.yaml")]
    process = subprocess.Popen(
        [*command, "--store", store.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        _, err = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return err


@pytest.mark.slow
def test_damaged_weights_fail_the_trials_that_need_them(
    tiny: Sweep, store: Store, tmp_path: Path
) -> None:
    original = Pretrain(setting=tiny.setting, seed=0)
    run_references(tiny, 1, runtime(store.url))
    truncate(store, weights(store, original))
    before = contents(store)
    err = told_by_a_run(tmp_path, store)
    assert f"not run: finetune trial 0: model.safetensors of pretrain {original.key}" in err
    assert f"delete records/pretrain/{original.key}.json from {store.url}" in err
    # The references' rows are all that was added: no trial was completed, and none marked failed.
    after = contents(store)
    assert before.items() <= after.items()
    added = {name for name in after.keys() - before.keys() if not name.startswith(BY_EVERY_RUN)}
    assert all(name.startswith("rows/references/") for name in added), added


@pytest.mark.slow
def test_a_damaged_checkpoint_ends_the_sweep(
    again: tuple[Pretrain, bytes], store: Store, tmp_path: Path
) -> None:
    step, _ = again
    checkpoint = interrupted(step, store)
    truncate(store, checkpoint)
    before = contents(store)
    err = told_by_a_run(tmp_path, store, Exit.STORE)
    assert f"error: checkpoint {checkpoint}: its content was altered" in err
    assert "; delete it and run again" in err
    assert before.items() <= contents(store).items()
