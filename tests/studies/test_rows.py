"""Rows: what stands in which column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.results.rows import METRICS, SETTING, SPREAD, one_row
from tests.tiny import tiny_sweep, trial
from unlearn_ray.core.columns import COLUMNS, column_of
from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.core.gaps import counted_columns
from unlearn_ray.core.registry import find
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.studies.rows import (
    Hours,
    Keys,
    Origin,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.trial import lost_row


def test_a_row_holds_values_references_gaps_and_hyperparameters() -> None:
    found = one_row("finetune", 3, 91.0, 81.0, trial=4, learning_rate=0.02, epochs=3)
    assert found["retain_accuracy"] == 91.0
    assert found["retain_accuracy_retrained"] == 92.0
    assert found["retain_accuracy_gap"] == 1.0
    assert found["forgetting_score_gap"] == pytest.approx(0.05)
    assert found["average_gap"] == 2.0  # forgetting score does not count
    assert found["average_gap_percentage"] == pytest.approx(100 * (1 / 92 + 3 / 84) / 2)
    assert (found["hp_learning_rate"], found["hp_epochs"], found["trial"]) == (0.02, 3, 4)
    hyperparameters = json.loads(str(found["hyperparameters"]))
    assert hyperparameters == {
        name.removeprefix("hp_"): value for name, value in found.items() if name.startswith("hp_")
    }
    assert (found["dataset"], found["model"]) == ("digits", "resnet8(width=8)")
    assert (found["device"], found["threads"], found["kernels"]) == ("cpu: a model", 1, "AVX2")
    assert found["made_on"] == "cpu: a model, AVX2, 1 thread"
    assert found["version_torch"] == "2.9"
    assert (found["key_retrained"], found["key_unlearn"]) == ("retrained3", None)
    assert all(v is None or isinstance(v, str | int | float | bool) for v in found.values())


def test_every_column_is_declared_with_its_type_and_the_rows_that_fill_it(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    found = [
        one_row("finetune", 3, 91.0, 81.0, forget=70.0),
        one_row("finetune", 3, 91.0, 81.0, purpose="tuning", state=State.STOPPED),
        lost_row(trial(sweep, sweep.studies[0], 0), "its worker was lost"),
        one_row("retrain", 2, 90.0, 80.0),
        one_row("original", 2, 90.0, 80.0),
    ]
    types = {"text": str, "integer": int, "number": float | int, "any": object}
    for row_of in found:
        failed, of_trial = row_of["state"] == "failed", row_of["purpose"] != "reference"
        may: dict[str, bool] = {
            "every row": True,
            "trials": of_trial,
            "tuning": row_of["purpose"] == "tuning",
            "score": row_of["purpose"] == "score",
            "failed": failed,
            "not failed": not failed,
            "trials that did not fail": of_trial and not failed,
        }
        for name, value in row_of.items():
            declared = column_of(name)
            assert value is None or isinstance(value, types[declared.type]), name
            assert value is None or may[declared.filled], name
        # Nothing is declared that no row has.
        assert {column.name for column in COLUMNS if "<" not in column.name} <= row_of.keys()


def test_a_metrics_columns_are_known_beside_those_with_a_meaning_of_their_own() -> None:
    declared = {name: column_of(name).name for name in (
        "average_gap", "retain_accuracy_gap", "key_measure_view_gap", "hp_a_gap", "key_unlearn",
        "retain_accuracy", "version_torch", "emia_retrained",
    )}  # fmt: skip
    assert declared == {
        "average_gap": "average_gap",
        "retain_accuracy_gap": "<metric>_gap",
        "key_measure_view_gap": "key_measure_<metric>",
        "hp_a_gap": "hp_<field>",
        "key_unlearn": "key_unlearn",
        "retain_accuracy": "<metric>",
        "version_torch": "version_<library>",
        "emia_retrained": "<metric>_retrained",
    }


def test_a_failed_trial_has_the_same_columns_and_no_numbers() -> None:
    complete = one_row("finetune", 2, 91.0, 81.0)
    failed = one_row("finetune", 2, None, state=State.FAILED, failure="loss is nan")
    assert list(failed) == list(complete)
    assert (failed["state"], failed["failure"]) == ("failed", "loss is nan")
    assert failed["retain_accuracy_retrained"] == 90.0
    empty = (
        *("retain_accuracy", "retain_accuracy_gap", "average_gap", "average_gap_percentage"),
        "tug_of_war",
    )
    assert all(failed[name] is None for name in empty)


def test_a_missing_reference_is_an_error_and_no_number() -> None:
    without = {"retain_accuracy": 1.0, "forgetting_score": 1.0, **SPREAD}
    with pytest.raises(UnlearnRayError, match="retrained model's test_accuracy: was not measured"):
        row(
            Subject("small", "s", "tuning", "finetune", 0, 0),
            SETTING,
            METRICS,
            AverageGap(),
            state=State.COMPLETE,
            values={**without, "test_accuracy": 1.0},
            reference=without,
            seconds=Seconds(),
            hours=Hours(),
            keys=Keys(),
            origin=Origin(None, frozenset(), "here", {}, ""),
        )


def test_only_metrics_of_the_average_gap_are_counted() -> None:
    assert counted_columns(METRICS) == ["retain_accuracy", "test_accuracy"]


def test_tug_of_war_stands_beside_the_average_gap_where_its_accuracies_were_measured() -> None:
    assert one_row("finetune", 2, 91.0, 81.0)["tug_of_war"] is None
    found = one_row("finetune", 2, 91.0, 81.0, forget=70.0)
    assert found["tug_of_war"] == pytest.approx(0.99 * 0.99 * 0.9)
    columns = list(found)
    assert columns.index("tug_of_war") == columns.index("average_gap_percentage") + 2


def test_metrics_beyond_the_papers_count_where_they_are_named() -> None:
    named = [find(Metric, name)() for name in ("unlearn_score", "test_accuracy_remaining")]
    assert counted_columns([*METRICS, *named])[2:] == ["test_accuracy_remaining"]


def test_what_is_made_of_columns_that_count_does_not_count_beside_them() -> None:
    """Test accuracy is the mean of those on remaining and forgotten classes, by their sizes."""
    remaining, forgotten = (
        find(Metric, f"test_accuracy_{classes}")() for classes in ("remaining", "forgotten")
    )
    both = ["retain_accuracy", "test_accuracy_remaining", "test_accuracy_forgotten"]
    assert counted_columns([*METRICS, remaining, forgotten]) == both
    # With one of them alone, the samples of the other would count nowhere.
    assert "test_accuracy" in counted_columns([*METRICS, remaining])
    assert "test_accuracy" in counted_columns([*METRICS, forgotten])
