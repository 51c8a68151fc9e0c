"""Steps that bring models, run in this process: weights, expected accuracy, changed files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.config.test_brought import TEXT, brought, loaded, weights
from tests.theirs import saved
from tests.tiny import run, runtime
from unlearn_ray.core.errors import DataError, TrialError
from unlearn_ray.steps.kinds.expect import Expect
from unlearn_ray.steps.references import reference
from unlearn_ray.storage.store import unpack_tensors
from unlearn_ray.storage.tensors import MODEL


def test_the_artifact_is_the_model_in_our_layout(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.safetensors", "module.", seconds="12.5")
    sweep, here = loaded(tmp_path, brought(tmp_path, "a.safetensors")), runtime(tmp_path / "store")
    step = reference("original", sweep.setting, 0)
    record = run(step, here).record
    assert record.kind == "bring"
    assert record.result["compute_seconds"] == 12.5
    stored, _ = unpack_tensors(here.store.read_artifact(record, MODEL))
    assert torch.equal(stored["classifier.weight"], weights()["fc.weight"])
    model = here.model(reference("original", sweep.setting, 1))
    assert torch.equal(model.get_parameter("backbone.conv1.weight"), weights()["conv1.weight"])
    assert not run(reference("original", sweep.setting, 1), here).ran


def test_a_file_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    file = saved(weights(), tmp_path / "a.pt")
    sweep, here = loaded(tmp_path, brought(tmp_path)), runtime(tmp_path / "store")
    saved(weights(1), tmp_path / "a.pt")
    step = reference("original", sweep.setting, 0)
    with pytest.raises(
        DataError, match="does not have the weights that the sweep was planned with"
    ):
        run(step, here)
    file.unlink()
    with pytest.raises(DataError, match="No such file"):
        run(step, here)


def test_the_accuracy_is_checked_before_any_trial(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    here = runtime(tmp_path / "store")

    def check(expected: float, tolerance: float) -> Expect:
        more = f", expect: {expected}, tolerance: {tolerance}"
        setting = loaded(tmp_path, brought(tmp_path, more=more)).setting
        return Expect(setting=setting, seed=0, accuracy=expected, tolerance=tolerance)

    # Of a model with random weights.
    measured = run(check(0.5, 0.5), here).record.value("accuracy", float)
    assert 0 <= measured < 0.4
    run(check(measured, 0.0), here)
    with pytest.raises(TrialError) as error:
        run(check(0.93, 0.01), here)
    told = f"its test accuracy is {measured:.4f}, and expected are 0.93 within 0.01"
    assert told in str(error.value)


def test_without_a_brought_model_nothing_is_brought(tmp_path: Path) -> None:
    setting = loaded(tmp_path, "", TEXT).setting
    assert reference("original", setting, 0).name == "pretrain"
    assert reference("retrained", setting, 0).name == "retrain"
