"""Observations: stored exactly and small, read by metrics that come later, without a model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import BufferReader
from torch import Tensor

from tests.tiny import SWEEP, finish, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Keep
from unlearn_ray.core.errors import CorruptObject, ProgramError
from unlearn_ray.core.registry import find
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.base import SetName
from unlearn_ray.quantities.view_features import ViewFeatures
from unlearn_ray.steps.graph import batches
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.observations import pack, unpack
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan, reference_steps
from unlearn_ray.studies.rows import HOURS

MODELS = ("pretrain", "retrain", "unlearn")


@pytest.fixture
def store(finished_sweep: Path, tmp_path: Path) -> Store:
    """Of a finished sweep that measures two accuracies."""
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def without_models(store: Store) -> None:
    for kind in MODELS:
        names = store.objects.names(f"artifacts/{kind}/")
        assert names
        for name in names:
            store.objects.delete(name)


def table_rows(store: Store) -> list[dict[str, Any]]:
    return [row for row in store.read_rows().to_pylist() if row["purpose"] != "tuning"]


def test_a_metric_of_outputs_is_added_without_a_model(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values are those of a sweep that measured it from the start."""
    sweep = tiny_sweep(tmp_path)
    added = [find(Metric, name)() for name in ("learned_attack", "js_divergence")]
    more = replace(sweep, metrics=(*sweep.metrics, *added))
    plan = make_plan(more, store)
    missing = {planned.step.name for planned in plan.references if not planned.stored}
    assert missing == {"measure"}
    without_models(store)
    monkeypatch.setattr(Runtime, "model", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr(Runtime, "data", lambda *_: pytest.fail("a dataset was loaded"))
    finish(more, runtime(store.url))
    monkeypatch.undo()
    finish(more, runtime(tmp_path / "other"))
    columns = [column for metric in more.metrics for column in metric.columns]
    for mine, theirs in zip(
        table_rows(store), table_rows(open_store(str(tmp_path / "other"))), strict=True
    ):
        assert [mine[c] for c in columns] == [theirs[c] for c in columns]
        assert mine["js_divergence_retrained"] == 0.0
        assert (mine["js_divergence"] == 0.0) == (mine["row"].split("/")[-1] == "retrain-1-0")


def test_one_of_views_takes_one_pass_of_inference(store: Store, tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    more = replace(sweep, metrics=(*sweep.metrics, find(Metric, "forgetting_score")()))
    plan = make_plan(more, store)
    missing = [planned.step for planned in plan.references if not planned.stored]
    assert [step.name for step in missing] == ["observe", "observe", "measure", "measure"]
    assert [study.left for study in plan.studies] == [0]
    trained = {kind: store.records(kind) for kind in MODELS}
    finish(more, runtime(store.url))
    assert {kind: store.records(kind) for kind in MODELS} == trained


def columns_of(sizes: dict[SetName, int], classes: int) -> dict[SetName, dict[str, Tensor]]:
    drawn = torch.Generator().manual_seed(0)
    return {
        part: {"value": 5 * torch.randn(size, classes, generator=drawn)}
        for part, size in sizes.items()
    }


CIFAR: dict[SetName, int] = {"retain": 36_450, "forget": 4_050, "validation": 4_500, "test": 5_000}


def test_outputs_of_50_000_samples_take_less_than_2_mb() -> None:
    columns = columns_of(CIFAR, 10)
    similar = {part: {"value": torch.rand(n, dtype=torch.float64)} for part, n in CIFAR.items()}
    del similar["validation"]
    similar["retain"] = {"value": similar["retain"]["value"][: CIFAR["test"]]}
    assert sum(CIFAR.values()) == 50_000
    assert len(pack(columns)) + len(pack(similar)) < 2_000_000


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_what_is_packed_comes_back_bit_for_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    drawn = torch.Generator().manual_seed(1)
    sizes: dict[SetName, int] = {"test": 7, "validation": 0, "retain": 1}
    columns: dict[SetName, dict[str, Tensor]] = {
        part: {
            "a": (100 * torch.randn(n, *shape, generator=drawn)).to(dtype),
            "b": torch.randn(n, generator=drawn),
        }
        for part, n in sizes.items()
    }
    data = pack(columns)
    back = unpack(data, "it")
    assert list(back) == list(columns)
    for part, of_set in columns.items():
        for name, values in of_set.items():
            assert back[part][name].dtype == values.dtype
            assert torch.equal(back[part][name], values)
    table = pq.read_table(BufferReader(data)).to_pandas()  # as anybody reads it
    assert list(table["set"]) == ["test"] * 7 + ["retain"]
    np.testing.assert_array_equal(table["b"][:7], columns["test"]["b"].numpy())


def test_a_damaged_file_is_named() -> None:
    data = pack(columns_of({"test": 3}, 2))
    for broken in (data[:-9], b"", b"PAR1"):
        with pytest.raises(CorruptObject, match="the outputs: is not a table of samples"):
            unpack(broken, "the outputs")


# What is large


def observed(store: Store) -> set[str]:
    own = store.read_records(("observe", key) for key in store.records("observe"))
    records = [*own.values(), *store.sharing().values()]
    return {
        f"{record.config['quantity']['name']} for {record.row.split('/')[-1].split('-')[0] or '-'}"
        for record in records
        if record.kind == "observe"
    }


@schema
class Sharpness(Metric):
    """A column of an objective that needs what is large."""

    name: ClassVar[str] = "sharpness"
    columns: ClassVar[dict[str, str]] = {"sharpness": "Sharpness"}
    in_average_gap: ClassVar[bool] = True

    def needs(self) -> Needs:
        features = ViewFeatures(samples=5)
        return Needs(model=(features,), original=(features,))

    def measure(self, model: Observed) -> Measurement:
        features = ViewFeatures(samples=5)
        apart = model.values(features, "forget") - model.original.values(features, "forget")
        return Measurement({"sharpness": float(apart.norm())})


def test_what_is_large_is_kept_for_references_and_winners_and_where_it_is_named(
    tmp_path: Path,
) -> None:
    sweep = replace(tiny_sweep(tmp_path), metrics=(Sharpness(),))
    plain, keeping = tmp_path / "plain", tmp_path / "keeping"
    finish(sweep, runtime(plain))
    finish(replace(sweep, keep=Keep(observations=("view_features",))), runtime(keeping))
    references = {"view_features for -", "view_features for reporting"}
    assert observed(open_store(str(plain))) == references
    assert observed(open_store(str(keeping))) == {*references, "view_features for tuning"}
    mine, theirs = (
        {r["row"]: r["sharpness"] for r in open_store(str(s)).read_rows().to_pylist()}
        for s in (plain, keeping)
    )
    assert mine == theirs
    assert all(mine[row] > 0 for row in mine if "original" not in row)


def test_what_is_kept_is_large_and_known(tmp_path: Path) -> None:
    assert tiny_sweep(tmp_path, SWEEP + "keep: {observations: [view_features]}\n").keep == Keep(
        observations=("view_features",)
    )
    for wrong in ("outputs", "view_featurs"):
        with pytest.raises(Exception, match="pair_embeddings, view_features"):
            tiny_sweep(tmp_path, SWEEP + f"keep: {{observations: [{wrong}]}}\n")


# Models of other seeds


@schema
class Spread(Metric):
    """How far the outputs of the same model lie apart under other seeds."""

    name: ClassVar[str] = "spread"
    columns: ClassVar[dict[str, str]] = {"spread": "Spread"}

    def needs(self) -> Needs:
        return Needs(model=(OUTPUTS,), other_seeds=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        means = [
            one.probabilities("test").amax(dim=1).mean() for one in (model, *model.other_seeds)
        ]
        return Measurement({"spread": float(torch.stack(means).std())})


def test_a_metric_of_models_of_other_seeds(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, SWEEP.replace("reporting: [1]", "reporting: [1, 2, 3]"))
    sweep = replace(sweep, metrics=(*sweep.metrics, Spread()))
    finish(sweep, runtime(tmp_path / "store"))
    store = open_store(str(tmp_path / "store"))
    rows = store.read_rows().to_pylist()
    reported = [row for row in rows if row["purpose"] != "tuning"]
    assert len(reported) == 9
    # The first row's run made the models of the other seeds, too; it is what they cost.
    keys = [(kind, key) for key, kind in store.kinds().items()]
    records = [*store.read_records(keys).values(), *store.sharing().values()]
    spent = [each.accelerator_hours for each in records if each.row]
    assert sum(row[of] or 0.0 for row in rows for of in HOURS) == pytest.approx(sum(spent))
    by_model: dict[str, set[float]] = {}
    for row in reported:
        by_model.setdefault(row["study"], set()).add(row["spread"])
    # Of one model, whatever the seed that is called its own.
    assert all(max(s) == pytest.approx(min(s)) for s in by_model.values())


@schema
class Undeclared(Metric):
    """Asks for more than it says."""

    name: ClassVar[str] = "undeclared"
    columns: ClassVar[dict[str, str]] = {"undeclared": "Undeclared"}

    def measure(self, model: Observed) -> Measurement:
        return Measurement({"undeclared": float(model.retrained.probabilities("test").mean())})


def test_what_a_metric_does_not_name_it_does_not_get(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    sweep = replace(sweep, metrics=(*sweep.metrics, Undeclared()))
    with pytest.raises(ProgramError, match=r"undeclared asks for Outputs\(\) of the retrained, "):
        finish(sweep, runtime(tmp_path / "store"))


def test_batches_never_await_each_other(tmp_path: Path) -> None:
    """One metric asks for the original, the other one for the retrained model."""
    text = SWEEP.replace(
        "[retain_accuracy, test_accuracy]", "[retain_accuracy, forgetting_score, js_divergence]"
    )
    steps = {step.key: step for step in reference_steps(tiny_sweep(tmp_path, text), 1)}
    of_batches = batches(steps.values())
    awaits = {
        name: {
            wanted.batch
            for step in batch
            for wanted in step.inputs().values()
            if wanted.asks != "training" and wanted.batch not in (None, name)
        }
        for name, batch in of_batches.items()
    }
    assert any(awaits.values())
    done: set[str | None] = set()
    while ready := {name for name in awaits if name not in done and awaits[name] <= done}:
        done |= ready
    assert done == awaits.keys()
    (apart,) = (batch for name, batch in of_batches.items() if name.startswith("compare"))
    assert [f"{step}" for step in apart][-1] == "measure js_divergence of pretrain (seed 1)"


def test_what_is_gone_is_in_some_batch(store: Store, tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    for key in store.records("samples"):
        store.objects.delete(f"records/samples/{key}.json")
    planned = make_plan(sweep, store).references
    missing = [each.step for each in planned if not each.stored]
    assert {step.name for step in missing} == {"samples"}
    assert list(batches(missing).values()) == [[step] for step in missing]
