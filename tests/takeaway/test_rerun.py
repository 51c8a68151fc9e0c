"""`results rerun`: the same numbers again, and none of the store's objects changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.takeaway.conftest import Finished
from tests.takeaway.stores import CLASSIFIERS, finished
from tests.tiny import run, run_references, runtime, tiny_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.results import main
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.storage.records import record_name, to_bytes
from unlearn_ray.storage.store import Store, open_store, pack_tensors, unpack_tensors
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.trial import TrialSeed, score


def digests(store: Store) -> dict[str, str]:
    """Every object of a store."""
    return {name: sha256(store.objects.read(name)).hexdigest() for name in store.objects.names("")}


def again(
    folder: Path, key: str, capsys: pytest.CaptureFixture[str], file: str = "tiny.yaml"
) -> tuple[int, list[dict[str, Any]], str]:
    """The status, the lines by what they are about, and what is said beside."""
    given = ["--sweep", str(folder / file)] if file else []
    status = main([str(folder / "store"), "rerun", key, *given, "--format", "json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out) if printed.out else [], printed.err


def keys(store: Store) -> dict[str, list[str]]:
    """The keys of a store's steps, by kind."""
    found: dict[str, list[str]] = {}
    for key, kind in store.kinds().items():
        found.setdefault(kind, []).append(key)
    return found


KINDS = ("pretrain", "retrain", "unlearn", "samples", "observe", "measure")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_step_gives_the_same_numbers(
    kind: str, sevens: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(sevens.store)
    key = keys(sevens.store)[kind][-1]
    status, lines, said = again(sevens.folder, key[:12], capsys)
    assert status == Exit.DONE, said
    assert lines
    assert all(line["equal"] for line in lines)
    assert "warning" not in said
    assert "equal, digit by digit" in said
    assert digests(sevens.store) == before
    if kind == "unlearn":
        assert {"weights", "logits of 360 test images", "loss", "loss curve", "iterations"} == {
            line["what"] for line in lines
        }


@pytest.fixture
def own(tmp_path: Path) -> Finished:
    """A store to damage."""
    sweep = finished(tmp_path)
    return Finished(sweep, open_store(str(tmp_path / "store")), tmp_path)


def altered(store: Store, kind: str, file: str, alter: Callable[[bytes], bytes], **of: Any) -> str:
    """The key of a step whose stored artifact and record now say something else."""
    key = keys(store)[kind][0]
    record = store.record(kind, key)
    assert record is not None
    data = alter(store.read_artifact(record, file))
    entry = replace(record.files[file], size=len(data), sha256=sha256(data).hexdigest())
    store.objects.write(entry.name, data)
    changed = replace(record, files={**record.files, file: entry}, **of)
    store.objects.write(record_name(kind, key), to_bytes(changed))
    return key


def test_other_weights_are_found(own: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    def nudged(data: bytes) -> bytes:
        tensors, metadata = unpack_tensors(data)
        tensors["classifier.bias"][3] += 0.25
        return pack_tensors(tensors, metadata)

    versions = {"torch": "1.0"}
    key = altered(own.store, "unlearn", "model.safetensors", nudged, versions=versions)
    status, lines, said = again(own.folder, key, capsys)
    assert status == Exit.SOME_FAILED
    found = {line["what"]: line for line in lines}
    weights = found["weights (most: classifier.bias)"]
    assert weights["largest difference"] == pytest.approx(0.25, abs=1e-6)
    assert not weights["equal"]
    assert found["logits of 360 test images"]["largest difference"] == pytest.approx(0.25, abs=1e-4)
    assert found["loss"]["equal"]
    assert f"version of torch: was 1.0, is {torch.__version__}" in said
    assert "2 of 5 differ" in said


def test_other_measurements_are_found(own: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    key = keys(own.store)["measure"][0]
    record = own.store.record("measure", key)
    assert record is not None
    ((name, value),) = record.result["values"].items()
    result = {**record.result, "values": {name: value + 1.5}, "kernels": "SSE2"}
    own.store.objects.write(record_name("measure", key), to_bytes(replace(record, result=result)))
    status, lines, said = again(own.folder, key, capsys)
    assert status == Exit.SOME_FAILED
    (line,) = lines
    assert (line["what"], line["largest difference"]) == (f"values.{name}", pytest.approx(1.5))
    assert "kernels: was SSE2, is" in said


def test_a_searched_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its point is in the store's rows alone."""
    searched = CLASSIFIERS.replace("0.01", "{uniform: [0.01, 0.02]}")
    sweep, here = tiny_sweep(tmp_path, searched), runtime(tmp_path / "store")
    run_references(sweep, 0, here)
    study, point = sweep.studies[0], {"learning_rate": 0.0125}
    trial = TrialSeed.of(sweep, study, 3, point, 0, "tuning")
    score(trial, here)
    status, lines, said = again(tmp_path, trial.unlearn.key, capsys)
    assert status == Exit.DONE, said
    assert lines
    measured = trial.measures(trial.unlearn)[0]
    status, lines, said = again(tmp_path, measured.key, capsys)
    assert status == Exit.DONE, said
    assert [line["what"] for line in lines] == ["values.retain_accuracy"]


def test_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CLASSIFIERS.replace("reporting: [1, 2]", "reporting: [1]\n  replicates: 2")
    finished(tmp_path, f"{text}scores: [tow]\n")
    store = open_store(str(tmp_path / "store"))
    for key in keys(store)["score"]:
        status, lines, said = again(tmp_path, key, capsys)
        assert status == Exit.DONE, said
        assert any(line["what"].startswith("estimates.tow") for line in lines)


def test_a_sweep_that_does_not_have_the_step(
    sevens: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (sevens.folder / "tiny.yaml").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("width: 4", "width: 5"))
    key = keys(sevens.store)["pretrain"][0]
    arguments = [str(sevens.folder / "store"), "rerun", key, "--sweep", str(other)]
    assert main(arguments) == Exit.BAD_INPUT
    told = capsys.readouterr().err
    assert f"has no step pretrain {key}" in told
    assert "name the file of sweep tiny" in told or "name the file of sweep sevens" in told


def test_the_kept_sweep_is_enough(
    own: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of whichever version of its file the step is; the file itself is gone."""
    file, key = tmp_path / "tiny.yaml", keys(own.store)["retrain"][0]
    later = tiny_sweep(tmp_path, file.read_text().replace("width: 4", "width: 5"))
    announce(make_plan(later, own.store), own.store)
    file.unlink()
    status, lines, said = again(tmp_path, key, capsys, file="")
    assert status == Exit.DONE, said
    assert lines
    arguments = [str(tmp_path / "store"), "rerun", key, "--set", "probe.epochs=3"]
    assert main(arguments) == Exit.BAD_INPUT
    assert "add --sweep FILE" in capsys.readouterr().err


def test_a_sweep_that_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = Pretrain(setting=tiny_sweep(tmp_path).setting, seed=0)
    run(step, runtime(tmp_path / "store"))
    assert main([str(tmp_path / "store"), "rerun", step.key]) == Exit.BAD_INPUT
    assert "keeps no file of such a sweep" in capsys.readouterr().err


def test_an_input_that_is_gone(own: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    key = keys(own.store)["unlearn"][0]
    record = own.store.record("unlearn", key)
    assert record is not None
    own.store.objects.delete(record_name("pretrain", record.inputs["original"]))
    status, lines, said = again(own.folder, key, capsys)
    assert (status, lines) == (Exit.STORE, [])
    assert "has no record in the store" in said
