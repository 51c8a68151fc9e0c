"""An objective is a part: it says its columns, their directions, and how a row scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from tests.results.rows import METRICS, SETTING
from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.core import registry
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.gaps import TUG_OF_WAR
from unlearn_ray.core.keys import canonical, plain
from unlearn_ray.core.registry import find, parts, register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.objectives.base import Direction, Kind, Objective
from unlearn_ray.studies.rows import Hours, Keys, Origin, Seconds, State, Subject, row
from unlearn_ray.studies.study import problem, study_key

ACCURACIES = "metrics: [retain_accuracy, test_accuracy, forget_accuracy]"


@schema
class TugOfWar(Objective):
    """The product of what three gaps leave of 1, as large as can be."""

    columns: ClassVar[Mapping[str, Direction]] = {"tug_of_war": "maximize"}

    def metrics(self, metrics: Collection[Kind]) -> tuple[Kind, ...]:
        return tuple(one for one in metrics if set(one.columns) <= set(TUG_OF_WAR))


@pytest.fixture
def tug_of_war(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {kind: dict(named) for kind, named in registry._REGISTERED.items()}
    monkeypatch.setattr(registry, "_REGISTERED", known)
    register("toy_tug_of_war")(TugOfWar)


def scored(objective: Objective, gap: float, state: State = State.COMPLETE) -> float | None:
    retrained = dict.fromkeys(TUG_OF_WAR, 90.0)
    found = row(
        Subject("small", "s", "tuning", "finetune", 0, 0),
        SETTING,
        [find(Metric, name)() for name in TUG_OF_WAR],
        objective,
        state=state,
        values=None if state == State.FAILED else dict.fromkeys(TUG_OF_WAR, 90.0 - gap),
        reference=retrained,
        seconds=Seconds(),
        hours=Hours(),
        keys=Keys(),
        origin=Origin(None, frozenset(), "here", {}, ""),
    )
    assert found["objective"] == objective.name
    score = found["score"]
    assert score is None or isinstance(score, float)
    return score


def test_the_average_gap_is_the_first_and_the_default(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    assert sweep.objective == AverageGap()
    assert sweep == tiny_sweep(tmp_path, f"{SWEEP}objective: average_gap\n")
    assert parts(Objective)["average_gap"] is AverageGap
    assert scored(AverageGap(), 2.0) == 2.0
    assert scored(AverageGap(), 2.0, State.FAILED) is None
    assert [one.name for one in AverageGap().metrics(METRICS)] == [
        "retain_accuracy",
        "test_accuracy",
    ]


def test_it_is_in_the_identity_of_a_study_once(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    said = plain(problem(sweep))["objective"]
    assert said == {
        "name": "average_gap", "revision": 1, "metrics": [one.content() for one in sweep.scored_by]
    }  # fmt: skip
    assert canonical(plain(problem(sweep))).count('"average_gap"') == 1


@pytest.mark.usefixtures("tug_of_war")
def test_one_in_one_file_is_searched_by(tmp_path: Path) -> None:
    text = SWEEP.replace("metrics: [retain_accuracy, test_accuracy]", ACCURACIES)
    usual = tiny_sweep(tmp_path, text)
    sweep = tiny_sweep(tmp_path, f"{text}objective: toy_tug_of_war\n")
    assert sweep.objective == TugOfWar()
    assert study_key(sweep, sweep.studies[0]) != study_key(usual, usual.studies[0])
    # The larger it is, the better; a search makes its score as small as it can.
    worse, better = scored(TugOfWar(), 10.0), scored(TugOfWar(), 1.0)
    assert worse == pytest.approx(-(0.9**3))
    assert better is not None
    assert better < worse


@pytest.mark.usefixtures("tug_of_war")
def test_without_a_metric_that_it_is_made_of_there_is_no_score(tmp_path: Path) -> None:
    text = SWEEP.replace("metrics: [retain_accuracy, test_accuracy]", "metrics: [forgetting_score]")
    for objective in ("average_gap", "toy_tug_of_war"):
        with pytest.raises(
            ConfigError, match=r"tiny.yaml:\d+: metrics.*none counts in the .*score"
        ):
            tiny_sweep(tmp_path, f"{text}objective: {objective}\n")


def test_an_unknown_one_is_refused_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny.yaml:\d+: objective = averge_gap.*average_gap"):
        tiny_sweep(tmp_path, f"{SWEEP}objective: averge_gap\n")
