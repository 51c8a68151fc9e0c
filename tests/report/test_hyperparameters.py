"""Rank correlations, against what they must be; and fields that only some trials have."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.report.stores import write
from tests.results.rows import one_row
from unlearn_ray.report.evidence import SweepEvidence, sweep_evidence
from unlearn_ray.report.figures.best_so_far import best_so_far
from unlearn_ray.report.figures.hyperparameters import importances, parallel_coordinates
from unlearn_ray.storage.store import open_store

N = 12


def searched(folder: Path, points: list[dict[str, Any]], away: list[float]) -> SweepEvidence:
    """A study of trials with these fields, and this far from retraining."""
    store = open_store(str(folder / "store"))
    rows = []
    for trial, (point, gap) in enumerate(zip(points, away, strict=True)):
        row = one_row("finetune", 0, 90.0 - gap, 80.0 - gap, purpose="tuning", trial=trial)
        told = {**json.loads(f"{row['hyperparameters']}"), **point}
        rows.append({**row, "point": f"p{trial}", "hyperparameters": json.dumps(told)})
    write(store, rows)
    return sweep_evidence(store)


def cells(evidence: SweepEvidence) -> dict[str, dict[str, Any]]:
    (figure,) = importances(evidence)
    spec = figure.chart.to_dict()
    (values,) = spec["datasets"].values() if "datasets" in spec else [spec["data"]["values"]]
    return {cell["field"]: cell for cell in values}


def test_ranks_of_numbers_and_choices(tmp_path: Path) -> None:
    away = [float(number) for number in range(N)]
    points = [
        {"falling": 0.5 ** (number + 1), "rising": number**3, "choice": "ab"[number % 2]}
        for number in range(N)
    ]
    found = cells(searched(tmp_path, points, away))
    assert found["falling"]["label"] == "-1.00"
    assert found["rising"]["label"] == "+1.00"
    # Ranks 1, 3 ... and 2, 4 ... have means half a rank from that of all.
    variance = sum((rank - (N + 1) / 2) ** 2 for rank in range(1, N + 1))
    assert found["choice"]["label"] == f"{math.sqrt(N * 0.5**2 / variance):.2f}"


def test_a_field_that_some_trials_lack(tmp_path: Path) -> None:
    away = [float(number) for number in range(N)]
    points: list[dict[str, Any]] = [
        {"kind": "ab"[number // 6], "rate": None} for number in range(N)
    ]
    for number in range(6):
        points[number]["rate"] = 0.1 * (number + 1)
    evidence = searched(tmp_path, points, away)
    found = cells(evidence)
    assert (found["rate"]["label"], found["rate"]["n"]) == ("+1.00", 6)
    (figure,) = parallel_coordinates(evidence)
    assert "rate = 0.1" in figure.caption
    assert "null" in json.dumps(figure.chart.to_dict())


def test_choices_of_one_trial_each_say_nothing(tmp_path: Path) -> None:
    points = [{"name": f"n{number}", "rate": number} for number in range(N)]
    found = cells(searched(tmp_path, points, [float(number) for number in range(N)]))
    assert set(found) == {"rate"}


def test_who_leads_at_an_equal_budget(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    rows = []
    # finetune: cheap trials; neggrad finds more in its first trial, which costs what they all cost.
    for trial, gap in enumerate((9.0, 5.0, 4.0, 2.0)):
        of_row: dict[str, Any] = {"purpose": "tuning", "trial": trial, "hours": 2 / 3}
        rows.append(
            one_row("finetune", 0, 90 - gap, 80 - gap, learning_rate=0.01 * (1 + trial), **of_row)
        )
    for trial, gap in enumerate((3.0, 1.0)):
        of_row = {"purpose": "tuning", "trial": trial, "hours": 8 / 3}
        rows.append(
            one_row("neggrad", 0, 90 - gap, 80 - gap, learning_rate=0.01 * (1 + trial), **of_row)
        )
    write(store, rows)
    by_trials, by_hours = best_so_far(sweep_evidence(store))
    assert "At 2 trials" in by_trials.caption
    assert "neggrad is lowest" in by_trials.caption
    assert "At 4 h" in by_hours.caption
    assert "finetune is lowest with" in by_hours.caption


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_trials_draw_nothing(tmp_path: Path, count: int) -> None:
    points = [{"learning_rate": 0.1 * (number + 1)} for number in range(count)]
    if not count:
        write(open_store(str(tmp_path / "store")), [one_row("original", 2, 94.0, 84.0)])
        evidence = sweep_evidence(open_store(str(tmp_path / "store")))
    else:
        evidence = searched(tmp_path, points, [1.0] * count)
    assert parallel_coordinates(evidence) == []
    assert importances(evidence) == []
