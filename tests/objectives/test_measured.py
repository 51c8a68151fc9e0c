"""An objective of measured values: no gap, and so no retrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.metrics.accuracy_test import AccuracyOnTest
from unlearn_ray.metrics.forget_accuracy import ForgetAccuracy
from unlearn_ray.metrics.retain_accuracy import RetainAccuracy
from unlearn_ray.objectives.measured import Measured

ROW: dict[str, Any] = {
    "forget_accuracy": 80.0,
    "test_accuracy": 92.0,
    "retain_accuracy": 99.0,
    "test_accuracy_original": 93.5,
    "member_rate_forget": 46.0,
}


@pytest.mark.parametrize(
    ("aims", "weights", "expected"),
    [
        ({"forget_accuracy": "minimize"}, {}, 80.0),
        ({"retain_accuracy": "maximize"}, {}, -99.0),
        ({"test_accuracy": "original"}, {}, 1.5),
        ({"member_rate_forget": 50}, {}, 4.0),
        ({"forget_accuracy": "test_accuracy"}, {}, 12.0),
        ({"forget_accuracy": "minimize", "retain_accuracy": "maximize"}, {}, (80 - 99) / 2),
        (
            {"forget_accuracy": "test_accuracy", "test_accuracy": "original"},
            {"test_accuracy": 3},
            (12 + 3 * 1.5) / 4,
        ),
    ],
)
def test_the_score_is_the_weighted_mean(
    aims: dict[str, Any], weights: dict[str, float], expected: float
) -> None:
    objective = Measured(aims=aims, weights=weights)
    assert objective.score(ROW) == pytest.approx(expected)
    assert not objective.uses_retrained()
    assert objective.uses_original() == ("original" in aims.values())
    for column in [*aims, *(aim for aim in aims.values() if aim in ROW)]:
        assert objective.score({**ROW, column: None}) is None
    if objective.uses_original():
        assert objective.score({**ROW, "test_accuracy_original": None}) is None


def test_it_measures_every_column_that_it_reads() -> None:
    metrics = (ForgetAccuracy(), AccuracyOnTest(), RetainAccuracy())
    objective = Measured(aims={"forget_accuracy": "test_accuracy"})
    assert objective.metrics(metrics) == metrics[:2]
    assert Measured(aims={"retain_accuracy": "original"}).metrics(metrics) == metrics[2:]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{aims: {}}", r"aims"),
        (
            "{aims: {test_acuracy: maximize}}",
            r"aims.test_acuracy: no metric .*did you mean test_ac",
        ),
        ("{aims: {test_accuracy: maximise}}", r"neither minimize, .*did you mean maximize"),
        ("{aims: {test_accuracy: test_accuracy}}", r"neither minimize, maximize nor original, nor"),
        ("{aims: {test_accuracy: forget_accuracy}}", r"nor another measured column"),
        ("{aims: {test_accuracy: 90}, weights: {retain_accuracy: 2}}", r"a weight and no aim"),
        ("{aims: {test_accuracy: 90}, weights: {test_accuracy: 0}}", r"greater than 0"),
        ("{aims: {test_accuracy: [1]}}", r"aims"),
    ],
)
def test_what_does_not_fit_is_refused_while_planning(
    tmp_path: Path, fields: str, message: str
) -> None:
    with pytest.raises((ConfigError, ConfigErrors), match=rf"tiny.yaml:15: .*{message}"):
        tiny_sweep(tmp_path, f"{SWEEP}objective: {{measured: {fields}}}\n")


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        Measured(aims={"test_accuracy": float("nan")})
