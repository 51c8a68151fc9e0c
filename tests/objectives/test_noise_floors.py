"""Objectives over noise floors, and what a sweep file must say to use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.results.rows import METRICS, SETTING, SPREAD
from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.objectives.average_excess import AverageExcess
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.objectives.base import Objective
from unlearn_ray.objectives.weighted_gap import WeightedGap
from unlearn_ray.studies.rows import (
    Hours,
    Keys,
    Origin,
    Replicates,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.study import study_key

RETRAINED = [
    {"retain_accuracy": 90.0, "test_accuracy": 80.0, "forgetting_score": 0.2, **SPREAD},
    {"retain_accuracy": 91.0, "test_accuracy": 76.0, "forgetting_score": 0.3, **SPREAD},
]
FLOOR = {"retain_accuracy": 2.0, "test_accuracy": 4.0, "forgetting_score": 0.01}
VALUES = {"retain_accuracy": 94.0, "test_accuracy": 77.0, "forgetting_score": 0.3, **SPREAD}
# Mean distances 3.5 and 2, over floors of 2 and 4.
EXCESS = {"retain_accuracy": 1.75, "test_accuracy": 0.5}


def made(objective: Objective, replicates: bool = True) -> dict[str, Any]:
    return row(
        Subject("small", "s", "tuning", "finetune", 0, 0),
        SETTING,
        METRICS,
        objective,
        state=State.COMPLETE,
        values=VALUES,
        reference=RETRAINED[0],
        replicates=Replicates(RETRAINED, {**FLOOR, **SPREAD}) if replicates else None,
        seconds=Seconds(),
        hours=Hours(),
        keys=Keys(),
        origin=Origin(None, frozenset(), "here", {}, ""),
    )


def test_a_row_has_the_gap_of_each_metric_over_its_floor() -> None:
    found = made(AverageExcess())
    for column, expected in EXCESS.items():
        assert found[f"{column}_floor"] == FLOOR[column]
        assert found[f"{column}_excess"] == pytest.approx(expected)
    # A floor below 0.1 points counts as 0.1.
    assert found["forgetting_score_floor"] == 0.01
    assert found["forgetting_score_excess"] == pytest.approx(0.05 / 0.1)
    assert found["average_excess"] == pytest.approx((1.75 + 0.5) / 2)
    assert found["score"] == found["average_excess"]
    # The gap is to the retrained model of the same training seed, as ever.
    assert found["average_gap"] == pytest.approx((4 + 3) / 2)


def test_without_replicates_there_is_no_excess() -> None:
    found = made(AverageGap(), replicates=False)
    assert found["average_excess"] is None
    assert not any(
        name.endswith(("_floor", "_excess")) for name in found if name != "average_excess"
    )
    assert made(AverageExcess(), replicates=False)["score"] is None


def test_weights_are_of_gaps_in_points_or_in_floors() -> None:
    weights = {"retain_accuracy": 3.0, "test_accuracy": 1.0}
    assert made(WeightedGap(weights=weights))["score"] == pytest.approx((3 * 4 + 3) / 4)
    in_floors = made(WeightedGap(weights=weights, unit="floor"))["score"]
    assert in_floors == pytest.approx((3 * 1.75 + 0.5) / 4)
    assert made(WeightedGap(weights=weights, unit="floor"), replicates=False)["score"] is None
    # Metrics outside the average gap may be weighed, too.
    of_score = WeightedGap(weights={"forgetting_score": 2.0})
    assert made(of_score)["score"] == pytest.approx(0.1)
    assert [one.name for one in of_score.metrics(METRICS)] == ["forgetting_score"]


def test_floors_need_replicates_of_the_tuning_seeds(tmp_path: Path) -> None:
    for objective in (
        "objective: average_excess",
        "objective: {weighted_gap: {weights: {test_accuracy: 1}, unit: floor}}",
    ):
        with pytest.raises(ConfigError, match=r"tiny.yaml:\d+: objective.*seeds.tuning_replicates"):
            tiny_sweep(tmp_path, f"{SWEEP}{objective}\n")
        enough = SWEEP.replace("tuning: [0]", "tuning: [0]\n  tuning_replicates: 2")
        assert tiny_sweep(tmp_path, f"{enough}{objective}\n").objective.uses_floor()
    in_points = "objective: {weighted_gap: {weights: {test_accuracy: 1}}}"
    assert not tiny_sweep(tmp_path, f"{SWEEP}{in_points}\n").objective.uses_floor()


def test_a_weight_of_what_is_not_measured_is_refused_at_its_line(tmp_path: Path) -> None:
    objective = "objective: {weighted_gap: {weights: {tst_accuracy: 1, retain_accuracy: 1}}}"
    with pytest.raises(
        ConfigError, match=r"tiny.yaml:\d+: objective.*tst_accuracy.*did you mean test_accuracy"
    ):
        tiny_sweep(tmp_path, f"{SWEEP}{objective}\n")


def test_replicates_of_the_tuning_seeds_are_in_a_studys_identity_where_scores_use_them(
    tmp_path: Path,
) -> None:
    def key(replicates: int, objective: str) -> str:
        text = SWEEP.replace("tuning: [0]", f"tuning: [0]\n  tuning_replicates: {replicates}")
        sweep = tiny_sweep(tmp_path, f"{text}objective: {objective}\n")
        return study_key(sweep, sweep.studies[0])

    assert key(2, "average_gap") == key(3, "average_gap")
    assert key(2, "average_excess") != key(3, "average_excess")
