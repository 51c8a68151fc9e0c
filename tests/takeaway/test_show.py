"""`results show`: one step, one trial, a study's winner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.takeaway.conftest import Finished
from tests.tiny import run, runtime, tiny_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.results import main
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import Failure, open_store


def facts(store: Path | str, what: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What is shown, by name."""
    assert main([str(store), "show", what, "--format", "json"]) == Exit.DONE
    return {line["field"]: line["value"] for line in json.loads(capsys.readouterr().out)}


def refused(store: Path | str, what: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(store), "show", what]) == Exit.BAD_INPUT
    return capsys.readouterr().err


def test_a_step(sevens: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    method = sevens.sweep.studies[0].at({})
    step = Unlearn(setting=sevens.sweep.setting, seed=1, method=method)
    shown = facts(sevens.folder / "store", step.key[:9], capsys)
    record = sevens.store.record("unlearn", step.key)
    assert record is not None
    assert (shown["kind"], shown["key"], shown["state"]) == ("unlearn", step.key, "complete")
    assert shown["input original"] == f"pretrain {step.original.key}"
    assert shown["config.method.learning_rate"] == "0.01"
    assert shown["config.forget_set.labels"] == "[7]"
    assert shown["made at"] == record.created
    assert f"device {record.result['device']}" in shown["made on"]
    assert f"{record.files['model.safetensors'].size:,} bytes" in shown["file model.safetensors"]
    assert shown["result.iterations"] == str(record.result["iterations"])
    assert "torch" in shown["versions"]
    assert (shown["use 0.as"], shown["use 0.study"]) == ("unlearn", "finetune")
    assert (shown["use 0.seed"], "use 1.as" in shown) == ("1", False)


def test_a_step_that_many_rows_use(sevens: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    step = Pretrain(setting=sevens.sweep.setting, seed=1)
    assert main([str(sevens.folder / "store"), "show", step.key]) == Exit.DONE
    printed = capsys.readouterr().out
    for text in (
        step.key,
        "config.family.augmentation.mean",
        "[0.4, 0.5, 0.6]",
        "away",
        "original",
    ):
        assert text in printed


def test_a_step_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, step = tmp_path / "store", Pretrain(setting=tiny_sweep(tmp_path).setting, seed=0)
    opened = open_store(str(store))
    failure = Failure(
        kind="pretrain", key=step.key, step=f"{step}", sweep="tiny", reason="a cable \x1b[2J broke",
        traceback="Traceback:\n  line 1\n", created="2026-01-01T00:00:00Z", host="here",
        versions={"torch": "2"},
    )  # fmt: skip
    opened.failures.write(failure)
    shown = facts(store, step.key[:5], capsys)
    assert (shown["state"], shown["reason"]) == ("failed", "a cable \x1b[2J broke")
    assert shown["traceback"] == failure.traceback
    assert main([str(store), "show", step.key]) == Exit.DONE
    printed = capsys.readouterr().out
    assert printed.endswith("Traceback:\n  line 1\n")
    assert "\x1b" not in printed
    # It was run again.
    run(step, runtime(store))
    assert facts(store, step.key, capsys)["state"] == "complete"


def test_a_trial(sevens: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    shown = facts(sevens.folder / "store", "sevens/away/0", capsys)
    assert (shown["method"], shown["trial"], shown["state"]) == (
        "gradient_ascent", "0 of 1", "complete",
    )  # fmt: skip
    assert shown["reason"] == "ran on 1 of 1 tuning seed"
    assert shown["hyperparameter learning_rate"] == "0.02"
    assert float(shown["mean score"]) >= 0
    runs = [(shown[f"run {n}.purpose"], shown[f"run {n}.seed"]) for n in range(3)]
    assert runs == [("tuning", "0"), ("reporting", "1"), ("reporting", "2")]
    method = next(study for study in sevens.sweep.studies if study.name == "away").at({})
    assert Unlearn(setting=sevens.sweep.setting, seed=2, method=method).key in shown.values()
    assert facts(sevens.folder / "store", "sevens/away", capsys)["trial"] == "0 of 1, the best"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("sevens/awy", "did you mean away?"),
        ("sevns/away", "did you mean sevens?"),
        ("sevens/away/1", "known are 0"),
        ("sevens/away/0/0", "the study has none"),
        ("sevens/", "has none of this name"),
        ("/", "is not in this store"),
        ("abcdef0", "no key starts with it"),
        ("", "several keys start with it"),
    ],
)
def test_what_is_not_there(
    what: str, reason: str, sevens: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in refused(sevens.folder / "store", what, capsys)


def test_a_trial_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its row says why, and its step is found by its key, although it has no record."""
    from tests.results.rows import one_row

    opened = open_store(str(tmp_path / "store"))
    row = one_row("finetune", 2, 91.0, 79.0, purpose="tuning")
    key = "0123456789abcdef"
    failed = {**row, "state": "failed", "failure": "the loss is NaN", "score": None}
    opened.write_row("failed", {**failed, "key_unlearn": key})
    shown = facts(tmp_path / "store", key[:4], capsys)
    assert (shown["key"], shown["reason"]) == (key, "the loss is NaN")
    shown = facts(tmp_path / "store", f"{row['sweep']}/finetune/{row['trial']}", capsys)
    assert (shown["state"], shown["reason"]) == ("failed", "the loss is NaN")
