"""Figures of rows, against the numbers that they must show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests.report.stores import searched, write
from unlearn_ray.report.evidence import SweepEvidence, sweep_evidence
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.figures.costs import costs
from unlearn_ray.report.figures.fronts import fronts, of_objectives
from unlearn_ray.report.figures.per_seed import per_seed
from unlearn_ray.report.searches import searches
from unlearn_ray.report.verdict import verdict_in_words
from unlearn_ray.storage.store import open_store

STUDIES = ("finetune", "neggrad", "scrub")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> SweepEvidence:
    store = open_store(str(tmp_path_factory.mktemp("rows") / "store"))
    write(store, searched(STUDIES, trials=12, replicates=4))
    return sweep_evidence(store)


def data(figure: Figure) -> list[dict[str, Any]]:
    """All data of a figure's chart."""
    found: list[dict[str, Any]] = []

    def look(part: Any) -> None:
        if isinstance(part, dict):
            values = part.get("data", {})
            found.extend(values.get("values", ()) if isinstance(values, dict) else ())
            for name, value in part.items():
                if name == "datasets":
                    for values in value.values():
                        found.extend(values)
                elif name != "data":
                    look(value)
        elif isinstance(part, list):
            for one in part:
                look(one)

    look(figure.chart.to_dict())
    return found


def test_dots_have_the_mean_that_verdicts_have(evidence: SweepEvidence) -> None:
    assert evidence.comparison is not None
    assert evidence.comparison.evidence is not None
    dots = [one for one in data(per_seed(evidence)[0]) if "study" in one]
    for study, judged in evidence.comparison.evidence.judgements.items():
        own = [one["value"] for one in dots if one["study"] == study]
        assert len(own) == 8
        assert sum(own) / len(own) == pytest.approx(judged.gap, rel=1e-4)
    assert {one["study"] for one in dots} == {*STUDIES, "original"}


def test_a_front_has_what_nothing_beats(evidence: SweepEvidence) -> None:
    rows = evidence.rows[evidence.rows["purpose"] == "tuning"]
    complete = rows.groupby(["study", "trial"]).filter(lambda one: len(one) == 2)
    of = complete.groupby(["study", "trial"])
    columns = ("average_gap", "test_accuracy", "unlearning_compute_seconds")
    points = {
        name: (part[columns[0]].mean(), -part[columns[1]].mean(), part[columns[2]].mean())
        for name, part in of
    }

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    front = {
        name
        for name, point in points.items()
        if not any(beats(other, point) for other in points.values())
    }
    for figure in fronts(evidence):
        marked = [one for one in data(figure) if one["front"] == "no other beats it"]
        assert {(one["study"], one["trial"]) for one in marked} == front
        assert len(data(figure)) == len(points)
        assert all(f"{study} #{trial}" in figure.caption for study, trial in front)


def test_a_trial_beyond_a_constraint_is_on_no_front() -> None:
    """Nor is it the best: what the table reports is."""
    trials = pd.DataFrame(
        {
            "study": ["a"] * 3,
            "trial": [0, 1, 2],
            "state": ["complete"] * 3,
            "score": [1.0, 2.0, 3.0],
            "score_2": [1.0, 2.0, 1.5],
            "violation": [0.5, 0.0, 0.0],
            "hyperparameters": [f'{{"learning_rate": {rate}}}' for rate in (0.1, 0.2, 0.3)],
        }
    )
    rows = pd.DataFrame({"objective": ["x, y"], "purpose": ["tuning"]})
    told: Any = SimpleNamespace(rows=rows, trials=trials, studies=("a",))
    (figure,) = of_objectives(trials, ("a",), told)
    fronts = {one["trial"]: one["front"] for one in data(figure)}
    assert fronts == {
        0: "another beats it",
        1: "no other beats it",
        2: "no other beats it",
    }
    (search,) = searches(trials, ("a",))
    assert search.numbers[0] == 1


def test_costs_are_those_of_the_rows(evidence: SweepEvidence) -> None:
    (by_kind, by_study) = costs(evidence)
    hours = evidence.rows[["accelerator_hours_unlearn", "accelerator_hours_measure"]].sum()
    assert sum(one["hours"] for one in data(by_kind)) == pytest.approx(hours.sum(), rel=1e-3)
    assert sum(one["hours"] for one in data(by_study)) == pytest.approx(hours.sum(), rel=1e-3)


def test_the_verdict_is_that_of_the_table(evidence: SweepEvidence) -> None:
    assert evidence.comparison is not None
    assert evidence.comparison.evidence is not None
    told = verdict_in_words(evidence.comparison)
    judged = evidence.comparison.evidence.judgements
    assert {name: group.verdict for group in told.groups for name in group.studies} == {
        name: f"{one.verdict}" for name, one in judged.items()
    }
    alike = next(group.studies for group in told.groups)
    assert all(name in told.headline for name in alike)
    assert "N = 4 retrained models of each split (seeds 2, 3), and 8 unlearned ones" in told.basis


def test_no_verdict_for_too_few_models(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    write(store, [one for one in searched(["finetune"], 3, 2) if one["seed"] in (0, 1, 2)])
    told = verdict_in_words(sweep_evidence(store).comparison)
    assert [group.studies for group in told.groups] == [(), (), (), ("finetune",)]
    assert told.reasons[0].startswith("finetune: so few models give no p-value below")


def test_of_a_large_study_the_best_trials_and_the_front_are_drawn() -> None:
    count = 250
    trials = pd.DataFrame(
        {
            "study": ["large"] * count + ["small"] * 2,
            "trial": [*range(count), 0, 1],
            "score": [*map(float, range(count)), 1.0, 2.0],
            "score_2": [*[1.0] * (count - 1), 0.0, 1.0, 2.0],
        }
    )
    told: Any = SimpleNamespace(rows=pd.DataFrame({"objective": ["x, y"]}), trials=trials)
    (figure,) = of_objectives(trials, ("large", "small"), told)
    drawn = [one["trial"] for one in data(figure) if one["study"] == "large"]
    assert drawn == [*range(200), count - 1]
    assert len(data(figure)) == len(drawn) + 2
    assert "Of 252 trials 203 are drawn" in figure.caption
