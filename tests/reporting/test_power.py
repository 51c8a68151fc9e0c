"""`results STORE power`: variance components, detectable gaps and the models they would take."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.results.rows import frame, one_row, replicated_sweep, small_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.reporting.power import Asked, Unit, power
from unlearn_ray.results import main
from unlearn_ray.storage.store import open_store

AWAY = {"original": -6.0, "finetune": 0.0, "neggrad": 3.0}


Lines = dict[tuple[str, str], dict[str, Any]]


def table(
    replicates: int, width: float = 1.0, unit: Unit = "points", seeds: Sequence[int] = (2, 3)
) -> Lines:
    """Lines by study and metric."""
    rows = frame(replicated_sweep(replicates, AWAY, seeds))
    lines: list[dict[Any, Any]] = power(rows, Asked(width, unit)).to_dict("records")
    return {(line["study"], line["metric"]): line for line in lines}


def test_each_model_and_printed_metric_has_a_line() -> None:
    found = table(5)
    metrics = ("retain_accuracy", "test_accuracy", "forgetting_score", "forgetting_score_std")
    assert set(found) == {(study, each) for study in ("retrain", *AWAY) for each in metrics}
    assert {(line["splits"], line["replicates"]) for line in found.values()} == {(2, 5)}


def test_components_are_those_of_a_one_way_analysis_of_variance() -> None:
    rows = frame(replicated_sweep(5, AWAY))
    line = table(5)["neggrad", "retain_accuracy"]
    of_study = rows[rows["study"] == "neggrad"]
    groups = [part["retain_accuracy"].to_numpy() for _, part in of_study.groupby("seed")]
    within = float(np.mean([group.var(ddof=1) for group in groups]))
    between = 5 * float(np.var([group.mean() for group in groups], ddof=1))
    assert line["std_replicate"] == pytest.approx(math.sqrt(within))
    assert line["std_split"] == pytest.approx(math.sqrt((between - within) / 5))
    assert line["mean"] == pytest.approx(np.concatenate(groups).mean())
    retrained = rows[rows["study"] == "retrain"]
    # Of the mean over all splits that there could be: two of them leave one degree of freedom.
    means = [part["retain_accuracy"].mean() for _, part in retrained.groupby("seed")]
    within = float(
        np.mean([part["retain_accuracy"].var(ddof=1) for _, part in retrained.groupby("seed")])
    )
    variance = max(float(np.var(means, ddof=1)), within / 5)
    half = stats.t.ppf(0.975, 1) * math.sqrt(variance / 2)
    assert table(5)["retrain", "retain_accuracy"]["half_width"] == pytest.approx(half)
    # Of other models, of the difference from the retrained model of the same run.
    pairs_of = of_study.merge(retrained, on=["seed", "replicate"])
    away = pairs_of["retain_accuracy_x"] - pairs_of["retain_accuracy_y"]
    means = [part.mean() for _, part in away.groupby(pairs_of["seed"])]
    within = float(np.mean([part.var(ddof=1) for _, part in away.groupby(pairs_of["seed"])]))
    variance = max(float(np.var(means, ddof=1)), within / 5)
    assert line["half_width"] == pytest.approx(stats.t.ppf(0.975, 1) * math.sqrt(variance / 2))
    pairs = [
        abs(a - b)
        for _, part in retrained.groupby("seed")
        for a, b in combinations(part["retain_accuracy"], 2)
    ]
    assert line["floor"] == pytest.approx(np.mean(pairs))


def test_splits_that_vary_too_much_cannot_be_made_up_by_replicates() -> None:
    line = table(5, width=1.0)["retrain", "retain_accuracy"]
    assert pd.isna(line["replicates_needed"])
    # Their standard deviation is about 3.5.
    assert 30 < line["splits_needed"] < 90


def test_of_one_split_the_replicates_are_counted() -> None:
    found = table(5, width=0.5, seeds=(2,))
    line = found["retrain", "retain_accuracy"]
    assert pd.isna(line["std_split"])
    needed = int(line["replicates_needed"])

    def half(count: int) -> float:
        return float(stats.t.ppf(0.975, count - 1)) * line["std_replicate"] / math.sqrt(count)

    assert half(needed) <= 0.5 < half(needed - 1)


def test_floors_are_a_unit_of_the_half_width() -> None:
    floor = float(table(5)["finetune", "retain_accuracy"]["floor"])
    in_floors = table(5, 2.0, "floors", seeds=(2,))["finetune", "test_accuracy"]
    of_metric = float(in_floors["floor"])
    in_points = table(5, 2.0 * of_metric, seeds=(2,))["finetune", "test_accuracy"]
    assert in_floors["replicates_needed"] == in_points["replicates_needed"]
    assert 0.5 < floor < 2


def test_more_replicates_detect_smaller_gaps() -> None:
    gaps = [float(table(n)["finetune", "test_accuracy"]["detectable_excess_gap"])
            for n in (3, 5, 12)]  # fmt: skip
    assert gaps[0] > gaps[1] > gaps[2] > 0
    # Two of each cannot reach 5 %, one of each has no spread.
    for replicates in (1, 2):
        found = table(replicates).values()
        assert all(pd.isna(line["detectable_excess_gap"]) for line in found)


def test_without_replicates_only_splits_can_be_counted() -> None:
    line = table(1)["finetune", "retain_accuracy"]
    assert pd.isna(line["std_replicate"])
    assert pd.isna(line["floor"])
    assert pd.isna(line["replicates_needed"])
    assert line["splits_needed"] > 2
    in_floors = table(1, 1.0, "floors")["finetune", "retain_accuracy"]
    assert pd.isna(in_floors["splits_needed"])


def test_reference_models_alone_are_enough() -> None:
    rows = [row for row in replicated_sweep(5, AWAY) if row["study"] in ("retrain", "original")]
    found = power(frame(rows), Asked(1.0))
    assert set(found["study"]) == {"retrain", "original"}


# The command


@pytest.fixture
def store(tmp_path: Path) -> str:
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(replicated_sweep(5, AWAY)):
        opened.write_row(f"row{number:03}", row)
    return str(tmp_path / "store")


def test_the_command_prints_every_format(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([store, "power", "small"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[:4] == ["study", "metric", "splits", "replicates"]
    assert main([store, "power", "small", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {line["study"] for line in found} == {"retrain", *AWAY}
    options = ["--half-width", "50", "--format", "json"]
    assert main([store, "power", "small", *options]) == 0
    wide = json.loads(capsys.readouterr().out)
    assert all(line["replicates_needed"] == 1 for line in wide)
    assert main([store, "power", "small", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| study | metric |")


def test_bad_input_is_one_line(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([store, "power", "smal"]) == Exit.BAD_INPUT
    assert "did you mean small" in capsys.readouterr().err
    for width in ("0", "nan", "-1", "inf"):
        with pytest.raises(SystemExit):
            main([store, "power", "small", "--half-width", width])
        assert "is not a half-width" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["store", "power", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in ("std_split", "replicates_needed", "raise seeds.replicates", "add reporting seeds"):
        assert word in text


def test_a_sweep_that_only_tuned_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_store(str(tmp_path / "store"))
    opened.write_row("row", one_row("finetune", 0, 91.0, 79.0, purpose="tuning"))
    assert main([str(tmp_path / "store"), "power", "small"]) == 0
    assert "no retrained model was measured" in capsys.readouterr().err


def test_a_store_without_replicates_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"row{number:03}", row)
    assert main([str(tmp_path / "store"), "power", "small"]) == 0
    assert "std_split" in capsys.readouterr().out
