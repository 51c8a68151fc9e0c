"""The metrics of representation and relearning on real models, through a store."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.storage.store import Store, open_store, unpack_tensors
from unlearn_ray.storage.tensors import ARRAYS

METRICS = {
    "cka": {"samples": 200},
    "prototype_relearning": {},
    "relearn_time": {"updates": 15, "batch_size": 32, "learning_rate": 0.05},
    "linear_recoverability": {"samples": 200, "shots": 20, "epochs": 20},
    "residual_knowledge": {"draws": 2, "samples": 40},
    "activation_distance": {},
    "zrf": {},
    "layer_wise_distance": {},
    "completeness": {},
}
SWEEP = f"""\
name: deeper
dataset: {{digits: {{image_size: 8}}}}
validation: 0.5
forget_set: {{classes: {{classes: [3]}}}}
model: {{resnet8: {{width: 8}}}}
family: supervised
training: {{epochs: 12, batch_size: 64, learning_rate: 0.1}}
metrics: [retain_accuracy, forget_accuracy, {
    ", ".join(
        f"{{{name}: {fields}}}".replace("'", "") if fields else name
        for name, fields in METRICS.items()
    )
}]
methods:
  finetune: {{epochs: 1, batch_size: 64, learning_rate: 0.001}}
seeds: {{tuning: [0], reporting: [1]}}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, dict[str, Any]]]:
    """The store of a finished sweep, and its rows by study."""
    folder = tmp_path_factory.mktemp("deeper")
    finish(tiny_sweep(folder, SWEEP), runtime(folder / "store"))
    store = open_store(str(folder / "store"))
    rows = [row for row in store.read_rows().to_pylist() if row["purpose"] != "tuning"]
    return store, {row["study"]: row for row in rows}


def test_the_retrained_model_is_at_no_distance_from_itself(swept: Any) -> None:
    _, rows = swept
    row = rows["retrain"]
    for column in (
        "activation_distance", "layer_wise_distance", "linear_recoverability",
        "linear_recoverability_last",
    ):  # fmt: skip
        assert row[column] == 0.0
    for column in ("residual_knowledge", "relearn_time_ratio"):
        assert row[column] == 1.0
    assert row["completeness"] == 100.0
    assert row["forget_accuracy"] == 0.0
    assert all(row[f"cka_{part}"] > 0 for part in ("forget", "retain", "test"))


def test_the_original_has_forgotten_nothing(swept: Any) -> None:
    _, rows = swept
    row, retrained = rows["original"], rows["retrain"]
    assert row["forget_accuracy"] > 80
    assert all(row[f"cka_{part}"] == 0 for part in ("forget", "retain", "test"))
    assert row["relearn_time"] == 0
    assert retrained["relearn_time"] > 0
    assert row["linear_recoverability_last"] > 0
    assert row["residual_knowledge"] > 1
    assert row["perturbed_forget_accuracy"] > 80
    assert row["completeness"] < 20
    assert row["activation_distance"] > 0.5
    assert row["layer_wise_distance"] > 0.5
    assert 0 < row["zrf"] < 1


def test_arrays_are_stored_by_block_and_layer(swept: Any) -> None:
    store, _ = swept
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key in store.records("measure"):
        record = store.record("measure", key)
        if ARRAYS in record.files:
            name = record.config["metric"]["name"]
            found[name] = unpack_tensors(store.read_artifact(record, ARRAYS))[0]
    assert {"cka", "relearn_time", "linear_recoverability", "layer_wise_distance"} <= found.keys()
    assert {len(array) for array in found["cka"].values()} == {3}
    assert {len(array) for array in found["linear_recoverability"].values()} == {3}
    assert len(found["relearn_time"]["losses"]) == 16
    assert "backbone.layer1.0.conv1.weight" in found["layer_wise_distance"]
