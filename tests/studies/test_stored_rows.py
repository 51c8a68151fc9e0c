"""Rows of another hand: named, left out, and no harm to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.results.rows import one_row
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.stored_rows import read_rows

SOUND = one_row("finetune", 0, 90.0, 80.0, purpose="tuning")
NAMES = ["s/failed", "s/reference", "s/sound"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "store"))
    store.write_row("s/sound", SOUND)
    failed = one_row("finetune", 1, None, purpose="tuning", state=State.FAILED, failure="NaN")
    store.write_row("s/failed", failed)
    store.write_row("s/reference", {**SOUND, "purpose": "reference", "hyperparameters": None})
    return store


@pytest.mark.parametrize(
    "changes",
    [
        {"sweep": None},
        {"study_key": None},
        {"trial": None},
        {"seed": None},
        {"purpose": "play"},
        {"state": "lost"},
        {"state": None},
        {"created": "yesterday"},
        {"created": "2026-99-99T99:99:99Z"},
        {"created": "2026-01-01T00:00:00"},
        {"score": None},
        {"hyperparameters": None},
        {"hyperparameters": "{"},
        {"hyperparameters": "[]"},
        {"hyperparameters": "[" * 100_000},
        {"hyperparameters": '{"a": ' * 5000},
        {"trial": "first"},
        {"seed": 1.5},
        {"score": "small"},
        {"study_key": 3},
        {"test_accuracy": "high"},
        {"test_accuracy_gap": "wide"},
        {"unlearning_compute_seconds": "long"},
        {"accelerator_hours_unlearn": "many"},
    ],
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_row_that_can_be_none(
    changes: dict[str, Any], merged: bool, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_row("s/wrong", {**SOUND, **changes})
    if merged:
        store.compact()
    with caplog.at_level("WARNING"):
        for columns in ((), tuple(SOUND), (*changes, "sweep", "purpose", "state", "score")):
            found = read_rows(store, "s/", columns=columns)
            assert found["row"].to_pylist() == NAMES
            assert found.schema.field("score").type == "double"
    assert caplog.text.count("s/wrong") == 1
    assert "run the sweep again" in caplog.text


def test_sound_rows_are_all_there(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert read_rows(store)["row"].to_pylist() == NAMES
    assert read_rows(open_store(f"{store.url}-empty")).num_rows == 0
    assert caplog.text == ""
