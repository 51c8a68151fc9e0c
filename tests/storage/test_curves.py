"""Loss curves in a store: of steps that trained, of others, of old stores, and damaged ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import run, runtime, tiny_sweep
from unlearn_ray.core.curves import Curve
from unlearn_ray.core.errors import CorruptObject, Exit, MissingObject
from unlearn_ray.results import main
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.curves import CURVES, loss_curve, pack_curves, unpack_curves
from unlearn_ray.storage.records import record_name, to_bytes
from unlearn_ray.storage.store import Record


def test_points_are_kept_as_they_are() -> None:
    curves = [Curve(0, (1, 3), (0.5, math.nan), (0.1, 0.1)), Curve(1, (3,), (1 / 3,), (0.2,), 4)]
    frame = unpack_curves(pack_curves(curves), "a file")
    assert frame.drop(columns="loss").to_numpy().tolist() == [
        [0, 0, 1, 0.1], [0, 0, 3, 0.1], [4, 1, 3, 0.2]
    ]  # fmt: skip
    assert frame["loss"].tolist() == pytest.approx([0.5, math.nan, 1 / 3], nan_ok=True, abs=0)
    assert list(unpack_curves(pack_curves([]), "a file").columns) == list(frame.columns)
    assert len(pack_curves([Curve(0, (*range(200),), (0.123,) * 200, (0.1,) * 200)])) < 10_000
    with pytest.raises(CorruptObject, match="a file"):
        unpack_curves(b"PAR1 no more", "a file")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Runtime, Record]:
    here, sweep = runtime(tmp_path / "store"), tiny_sweep(tmp_path)
    step = Unlearn(setting=sweep.setting, seed=0, method=sweep.studies[0].at({}))
    run(step.original, here)
    return here, run(step, here).record


def test_a_step_keeps_its_curve(
    trained: tuple[Runtime, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    here, record = trained
    for key in (record.key, record.inputs["original"]):
        curve = loss_curve(here.store, key)
        of = here.store.record(here.store.kinds()[key], key)
        assert of is not None
        assert curve["iteration"].tolist() == list(range(1, of.result["iterations"] + 1))
        assert curve["loss"].iloc[-1] == of.result["loss"]
        assert main([here.store.url, "show", key]) == Exit.DONE
        printed = capsys.readouterr().out
        assert "iteration  loss" in printed
        assert f"{of.result['loss']:.6g}" in printed
    assert len(loss_curve(here.store, "0" * 16)) == 0


def test_stores_of_earlier_versions_have_none(
    trained: tuple[Runtime, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    here, record = trained
    older = {name: entry for name, entry in record.files.items() if name != CURVES}
    here.store.objects.write(
        record_name(record.kind, record.key), to_bytes(replace(record, files=older))
    )
    again = runtime(here.store.url)
    assert len(loss_curve(again.store, record.key)) == 0
    assert main([again.store.url, "show", record.key]) == Exit.DONE
    assert "learning_rate  " not in capsys.readouterr().out.split("result.loss")[1]


def test_a_removed_file_is_missed_by_those_who_ask_for_it(
    trained: tuple[Runtime, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an earlier version: by now the record itself holds the curves."""
    here, record = trained
    lost = {name: entry for name, entry in record.files.items() if name != CURVES}
    lost |= here.store.put_artifact(record.kind, record.key, {CURVES: pack_curves([])})
    here.store.objects.delete(lost[CURVES].name)
    here.store.objects.write(
        record_name(record.kind, record.key), to_bytes(replace(record, files=lost))
    )
    with pytest.raises(MissingObject):
        loss_curve(here.store, record.key)
    assert main([here.store.url, "show", record.key]) == Exit.DONE
    assert record.key in capsys.readouterr().out
