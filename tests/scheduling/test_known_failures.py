"""What another driver has found to fail, as a driver meets it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import ProgramError, TrialError
from unlearn_ray.scheduling.driver import _Driver
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.storage.store import Failure, Store, open_store


def fail(step: Step, store: Store) -> None:
    error = ProgramError(f"{step}", "ValueError: no", "its traceback is in the store")
    created = "2026-01-01T00:00:00+00:00"
    store.failures.write(
        Failure(step.name, step.key, f"{step}", "other", f"{error}", "", created, "here", {})
    )


def test_it_is_told_once_and_only_of_what_nobody_completed(
    finished_sweep: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    tiny, store = tiny_sweep(tmp_path), open_store(str(tmp_path / "store"))
    driver, step = (
        cast(_Driver, SimpleNamespace(store=store)),
        Pretrain(setting=tiny.setting, seed=0),
    )
    fail(step, store)
    _Driver._check_not_failed(driver, [step])
    store.objects.delete(f"records/{step.name}/{step.key}.json")
    with pytest.raises(TrialError) as raised:
        _Driver._check_not_failed(driver, [step])
    said = f"{step}: ValueError: no; its traceback is in the store; it failed for another driver"
    assert str(raised.value) == said
