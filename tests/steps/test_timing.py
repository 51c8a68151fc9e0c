"""The time of a training, told by its first iterations."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.core.errors import DataError
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.timing import training_seconds
from unlearn_ray.train.compute import Compute


def steps(folder: Path, epochs: int) -> list[Step]:
    text = SWEEP.replace("epochs: 1", f"epochs: {epochs}")
    sweep = tiny_sweep(folder, text)
    (study,) = sweep.studies
    method = study.at({})
    return [
        Pretrain(setting=sweep.setting, seed=0),
        Retrain(setting=sweep.setting, seed=0),
        Unlearn(setting=sweep.setting, seed=0, method=method),
    ]


def test_a_long_one_is_not_run_to_its_end(tmp_path: Path) -> None:
    for step in steps(tmp_path, 1_000_000):
        began = time.monotonic()
        told = training_seconds(step, Compute.cpu())
        # It has millions of iterations; what was timed are some twenty.
        assert told > 100 * (time.monotonic() - began)


def test_a_short_one_is_timed_as_a_whole(tmp_path: Path) -> None:
    for step in steps(tmp_path, 1):
        began = time.monotonic()
        assert 0 < training_seconds(step, Compute.cpu()) <= time.monotonic() - began


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    training_seconds(steps(tmp_path, 1_000_000)[0], Compute.cpu())
    assert list(folder.iterdir()) == []


def test_data_that_cannot_be_read(tmp_path: Path) -> None:
    from unlearn_ray.data.datasets.image_folder import ImageFolder

    step = steps(tmp_path, 1)[0]
    lost = ImageFolder(path=str(tmp_path / "nowhere"))
    strange = Pretrain(setting=replace(step.setting, dataset=lost), seed=0)
    with pytest.raises(DataError):
        training_seconds(strange, Compute.cpu())
