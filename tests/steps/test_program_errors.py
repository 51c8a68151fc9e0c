"""A step whose own code raises an error: told once, kept with its traceback, never run again."""

from __future__ import annotations

import gc
import json
import re
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import SWEEP, finish, run, runtime, tiny_sweep, trial
from unlearn_ray import results, sweep
from unlearn_ray.core.boundary import traceback_of
from unlearn_ray.core.errors import Exit, MachineError, OutOfMemory, ProgramError, TrialError
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.storage.step_failures import failure_name
from unlearn_ray.storage.store import Failure, Work, open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.trial import failed_reference_row, score


def raising(error: BaseException) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_a_reference_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, url = tiny_sweep(tmp_path), str(tmp_path / "store")
    store, step = open_store(url), Pretrain(setting=tiny.setting, seed=0)
    with monkeypatch.context() as broken:
        broken.setattr(SimCLR, "info_nce", raising(ValueError("of two\nlines")))
        with pytest.raises(ProgramError) as raised:
            run(step, runtime(url))
    name = failure_name("pretrain", step.key)
    said = f"pretrain (seed 0): ValueError: of two lines; its traceback is in the store: {name}"
    assert str(raised.value) == said
    kept = json.loads(store.objects.read(name))
    assert (kept["step"], kept["reason"], kept["sweep"]) == ("pretrain (seed 0)", said, "tiny")
    assert "in call\n    raise error\nValueError: of two\nlines\n" in kept["traceback"]
    lease = store.lease(step.key, Work("pretrain"))
    assert lease is not None, "whoever mended it would wait"
    lease.finish()

    # As the driver leaves it.
    failed = failed_reference_row(tiny, step, said)
    assert failed is not None
    store.write_row(*failed)
    samples = Samples(setting=tiny.setting, seed=0)
    assert failed_reference_row(tiny, samples, said) is None, "of neither model"
    announce(make_plan(tiny, store), store)
    given = [str(tmp_path / "tiny.yaml"), "--store", url]
    monkeypatch.setitem(sys.modules, "unlearn_ray.scheduling.driver", None)
    assert sweep.main(["plan", *given]) == Exit.DONE
    plan = capsys.readouterr().out
    assert f"{step.key}  failed: {said}" in plan
    assert "; 0 to run" in plan
    assert plan.endswith(
        "Nothing can run: 1 reference step failed; fix the cause, then run the sweep with "
        "--retry-failed.\n"
    )
    assert sweep.main(given) == Exit.SOME_FAILED
    told = capsys.readouterr()
    assert told.err == f"error: {said}; fix the cause, then run the sweep with --retry-failed\n"
    assert f"finetune: failed: {said}" in " ".join(told.out.split())
    assert sweep.main(["status", url]) == Exit.DONE
    assert "ValueError: of two lines" in capsys.readouterr().out
    assert results.main([url, "compare"]) == Exit.DONE
    capsys.readouterr()
    sql = "SELECT * FROM references"
    assert results.main([url, "query", sql, "--format", "csv"]) == Exit.DONE
    assert capsys.readouterr().out.count("\n") == 1
    for view in ("winners", "trials"):  # of which there are none yet
        sql = f"SELECT sweep, study, study_key FROM {view}"
        assert results.main([url, "query", sql, "--format", "csv"]) == Exit.DONE
        assert capsys.readouterr().out == "sweep,study,study_key\n"
    sql = "SELECT purpose, study, seed, state, failure FROM rows"
    assert results.main([url, "query", sql, "--format", "csv"]) == Exit.DONE
    assert f"reference,original,0,failed,{said}" in capsys.readouterr().out.replace('"', "")

    store.failures.forget([("pretrain", step.key)])
    finish(tiny, runtime(url))
    assert sweep.main(given) == Exit.DONE
    assert "Nothing to train" in capsys.readouterr().err


OF_CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), MemoryError(), OF_CUDA, OverflowError("huge"), RecursionError("deep")],
)
def test_a_trial(
    error: BaseException, finished_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    tiny, here = tiny_sweep(tmp_path), runtime(tmp_path / "store")
    study = trial(tiny, tiny.studies[0], 0)
    shutil.rmtree(tmp_path / "store" / "records" / "unlearn")
    shutil.rmtree(tmp_path / "store" / "rows" / study.study)
    monkeypatch.setattr(Finetune, "loss", raising(error))
    scored = score(study, here)
    name = type(error).__name__
    assert scored.failure is not None
    assert scored.failure.startswith(f"unlearn by finetune (seed 0): {name}")
    assert scored.row["state"] == "failed"
    (kept,) = here.store.failures.read([("unlearn", study.unlearn.key)]).values()
    assert kept.reason == scored.failure
    assert name in kept.traceback
    scarce = isinstance(error, MemoryError | torch.OutOfMemoryError)
    assert ("; lower the batch size, or" in scored.failure) == scarce


def test_what_does_not_fit_leaves_room_for_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, here = tiny_sweep(tmp_path), runtime(tmp_path / "store")
    held: list[weakref.ref[torch.Tensor]] = []

    def take_too_much(*_: object, **__: object) -> None:
        model = torch.zeros(100)
        held.append(weakref.ref(model))
        torch.empty(2**48)

    monkeypatch.setattr(SimCLR, "info_nce", take_too_much)
    step = Pretrain(setting=tiny.setting, seed=0)
    with pytest.raises(OutOfMemory, match=r"you tried to allocate 1125899906842624 bytes.*; lower"):
        run(step, here)
    gc.collect()
    assert [each() for each in held] == [None], "and it was not tried again"
    assert not here._data.values
    (kept,) = here.store.failures.read([("pretrain", step.key)]).values()
    assert "take_too_much" in kept.traceback


def test_what_the_machine_denies_is_no_failure_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, here = tiny_sweep(tmp_path), runtime(tmp_path / "store")
    monkeypatch.setattr(SimCLR, "info_nce", raising(OSError(28, "No space left on device", "x")))
    step = Pretrain(setting=tiny.setting, seed=0)
    with pytest.raises(MachineError, match="x: No space left on device"):
        run(step, here)
    assert here.store.failures.read([("pretrain", step.key)]) == {}


def test_the_end_of_this_process_is_no_failure_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, here = tiny_sweep(tmp_path), runtime(tmp_path / "store")
    here.must_end = lambda: True
    monkeypatch.setattr(SimCLR, "info_nce", raising(SystemExit(1)))
    with pytest.raises(SystemExit):
        run(Pretrain(setting=tiny.setting, seed=0), here)
    assert here.store.objects.names("failures/") == []


def test_a_loss_of_nan_of_a_reference_is_not_tried_again(tmp_path: Path) -> None:
    text = SWEEP.replace("{epochs: 1, batch_size: 128}\n", "{learning_rate: 1.0e+30}\n", 1)
    tiny, here = tiny_sweep(tmp_path, text), runtime(tmp_path / "store")
    with pytest.raises(TrialError, match="NaN or infinite"):
        run(Pretrain(setting=tiny.setting, seed=0), here)
    plan = make_plan(tiny, here.store)
    (failed,) = plan.failed_references
    assert "lower the learning rate" in f"{failed.failure}"
    assert not plan.complete


@pytest.mark.parametrize("damage", [b"{", b"[]", b"[" * 100_000, b'{"kind": 1}'])
def test_a_damaged_failure_is_named(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny, store = tiny_sweep(tmp_path), open_store(str(tmp_path / "store"))
    name = failure_name("pretrain", Pretrain(setting=tiny.setting, seed=0).key)
    store.objects.write(name, damage)
    with caplog.at_level("WARNING"):
        plan = make_plan(tiny, store)
    assert re.search(f"{name}: not a valid failure of a step: .*; delete that", caplog.text)
    assert not plan.failed_references  # the step is run again


def failed(step: Step, sweep: str = "other") -> Failure:
    """What a driver leaves of a step whose code raised an error."""
    return Failure(
        kind=step.name,
        key=step.key,
        step=f"{step}",
        sweep=sweep,
        reason=str(ProgramError(f"{step}", "no image \udcff.png", "mend it")),
        traceback=traceback_of(ValueError("no image \udcff.png")),
        created="2026-01-01T00:00:00+00:00",
        host="here",
        versions={},
    )


def test_a_failure_of_another_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny, store = tiny_sweep(tmp_path), open_store(str(tmp_path / "store"))
    store.failures.write(failed(Pretrain(setting=tiny.setting, seed=0)))
    given = [str(tmp_path / "tiny.yaml"), "--store", store.url]
    assert sweep.main(given) == Exit.SOME_FAILED
    told = capsys.readouterr()
    said = r"pretrain (seed 0): no image \xff.png; mend it"
    assert told.err == f"error: {said}; fix the cause, then run the sweep with --retry-failed\n"
    assert told.out == ""


def test_a_step_that_is_complete_has_not_failed(
    finished_sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    tiny, store = tiny_sweep(tmp_path), open_store(str(tmp_path / "store"))
    announce(make_plan(tiny, store), store)
    done, gone = Pretrain(setting=tiny.setting, seed=0), Pretrain(setting=tiny.setting, seed=1)
    store.objects.delete(f"records/pretrain/{gone.key}.json")
    store.failures.write(failed(done))
    assert store.failures.read([("pretrain", done.key)])
    assert sweep.main(["status", store.url]) == Exit.DONE
    assert "Failures" not in capsys.readouterr().out
