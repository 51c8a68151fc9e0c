"""What trials need of a GPU, as the records of earlier ones say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.auto_gpu import Devices
from unlearn_ray.reporting.gpu_memory import trial_bytes, with_gpus
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan

GB = 10**9
H200 = Devices("on this machine", 1.0, ("NVIDIA H200",), 141 * GB)


@pytest.fixture
def store(finished_sweep: Path, tmp_path: Path) -> Store:
    """Of a sweep whose trials ran on a GPU, as their records claim."""
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    opened = open_store(str(tmp_path / "store"))
    keys = opened.records("unlearn")
    records = opened.read_records(("unlearn", key) for key in keys).values()
    assert len(records) == 2
    for record, gigabytes in zip(records, (3, 5), strict=True):
        opened.replace(replace(record, result={**record.result, "gpu_bytes": gigabytes * GB}))
    return open_store(str(tmp_path / "store"))


def test_the_most_of_all_trials_counts(store: Store, tmp_path: Path) -> None:
    plan = make_plan(tiny_sweep(tmp_path), store)
    assert trial_bytes(plan, store) == 5 * GB
    assert with_gpus(plan, store, H200).sweep.resources.trial.gpu == 0.125
    small = replace(H200, memory=16 * GB)
    assert with_gpus(plan, store, small).sweep.resources.trial.gpu == 0.5


def test_numbers_and_no_gpu_ask_no_store(store: Store, tmp_path: Path) -> None:
    plan = make_plan(tiny_sweep(tmp_path), store)
    asked = with_gpus(plan, store, H200)
    assert with_gpus(asked, store, replace(H200, memory=16 * GB)) is asked
    assert with_gpus(plan, store, Devices("here")).sweep.resources.trial.gpu == 0


@pytest.mark.parametrize(
    "text",
    [
        SWEEP.replace("finetune:", "gradient_ascent:"),
        SWEEP.replace("methods:\n", "methods:\n  gradient_ascent: {epochs: 1}\n"),
        SWEEP.replace("width: 4", "width: 8"),
    ],
    ids=["another method", "one more method", "another model"],
)
def test_what_did_not_run_on_a_gpu_is_unknown(store: Store, tmp_path: Path, text: str) -> None:
    plan = make_plan(tiny_sweep(tmp_path, text), store)
    assert trial_bytes(plan, store) is None
    assert with_gpus(plan, store, H200).sweep.resources.trial.gpu == 1


def test_records_of_a_cpu_tell_nothing(finished_sweep: Path, tmp_path: Path) -> None:
    store = open_store(str(finished_sweep / "store"))
    assert trial_bytes(make_plan(tiny_sweep(finished_sweep), store), store) is None
