"""What a table says of replicates: verdicts, ranks, stars, and the numbers behind them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.results.rows import frame, one_row, replicated_sweep
from unlearn_ray.evidence.verdicts import Verdict
from unlearn_ray.reporting.render import evidence_grid, markdown, plain_text, rich_view
from unlearn_ray.reporting.table import Comparison, comparison

# In standard deviations of the retrained models.
AWAY = {"original": -6.0, "finetune": 0.0, "l1_sparsity": 0.0, "neggrad": 3.0, "scrub": 25.0}
STUDIES = [name for name in AWAY if name != "original"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return frame(replicated_sweep(5, AWAY))


@pytest.fixture(scope="module")
def table(rows: pd.DataFrame) -> Comparison:
    return comparison(rows, STUDIES)


def test_verdicts_are_those_that_the_replicates_were_made_for(table: Comparison) -> None:
    assert table.evidence is not None
    verdicts = {name: judged.verdict for name, judged in table.evidence.judgements.items()}
    assert verdicts == {
        "finetune": Verdict.INDISTINGUISHABLE,
        "l1_sparsity": Verdict.INDISTINGUISHABLE,
        "neggrad": Verdict.BETTER,
        "scrub": Verdict.WORSE,
    }
    assert {name: judged.rank for name, judged in table.evidence.judgements.items()} == {
        "finetune": 1, "l1_sparsity": 1, "neggrad": 3, "scrub": 4,
    }  # fmt: skip
    assert table.starred == {"finetune", "l1_sparsity"}
    assert table.evidence.replicates == 5
    assert table.runs == 10


def test_gaps_over_the_floor_are_those_of_loops(rows: pd.DataFrame, table: Comparison) -> None:
    assert table.evidence is not None
    columns = ("retain_accuracy", "test_accuracy")
    values = {of: part[list(columns)].to_numpy() for of, part in rows.groupby(["study", "seed"])}
    floors = []
    for column in range(2):
        pairs = [
            abs(a[column] - b[column])
            for seed in (2, 3)
            for a, b in combinations(values["retrain", seed], 2)
        ]
        floors.append(sum(pairs) / len(pairs))
    for number, name in enumerate(columns):
        assert table.evidence.floors[name].mean == pytest.approx(floors[number])
    for study in (*STUDIES, "original"):
        distances = [
            abs(u[column] - r[column]) / floors[column]
            for seed in (2, 3)
            for u in values[study, seed]
            for r in values["retrain", seed]
            for column in range(2)
        ]
        expected = sum(distances) / len(distances)
        judged = table.evidence.judgements.get(study)
        gap = table.evidence.original if judged is None else judged.gap
        assert gap == pytest.approx(expected), study


def test_the_frame_holds_what_the_table_says(rows: pd.DataFrame, table: Comparison) -> None:
    found = {line["study"]: line for line in table.frame().to_dict("records")}
    assert [name for name, line in found.items() if line["starred"]] == ["finetune", "l1_sparsity"]
    assert found["neggrad"]["verdict"] == "better than doing nothing"
    assert found["neggrad"]["rank"] == 3
    assert found["scrub"]["nothing_difference_low"] > 0
    assert found["finetune"]["retrain_p"] > 0.05
    assert found["original"]["gap_over_floor"] > 3
    assert pd.isna(found["retrain"]["verdict"])
    for study in ("finetune", "scrub"):
        expected = []
        for seed in (2, 3):
            of_seed = rows[rows["seed"] == seed].set_index("study")["retain_accuracy"]
            u, r = (of_seed[name].to_numpy() for name in (study, "retrain"))
            between = np.mean([abs(a - b) for a in u for b in r])
            own, others = (np.mean([abs(a - b) for a, b in combinations(x, 2)]) for x in (u, r))
            expected.append(between - own / 2 - others / 2)
        excess, low, high = (
            found[study][f"retain_accuracy_excess_gap{end}"] for end in ("", "_low", "_high")
        )
        assert excess == pytest.approx(np.mean(expected))
        assert low <= max(excess, 0) <= high
    assert found["scrub"]["retain_accuracy_excess_gap_p"] < 0.01


def test_every_format_has_the_block(table: Comparison) -> None:
    console = Console(width=150, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(rich_view(table, 150))
    for text in (plain_text(table, 150), markdown(table), capture.get()):
        words = " ".join(text.split())
        assert "Evidence" in words
        for expected in (
            "1=", "indistinguishable from retraining", "better than doing nothing",
            "worse than doing nothing", "5 replicates each", "Gap / floor",
        ):  # fmt: skip
            assert expected in words, expected
        assert "no verdict" not in words
    assert "**finetune**" in markdown(table)
    assert "finetune* " in plain_text(table)
    grid = evidence_grid(table)
    assert [row[0] for row in grid] == ["Method", "original", *STUDIES]
    assert [row[1] for row in grid[2:]] == ["1=", "1=", "3", "4"]


def test_two_replicates_are_refused_a_verdict() -> None:
    table = comparison(frame(replicated_sweep(2, AWAY)), STUDIES)
    assert table.evidence is not None
    assert {judged.verdict for judged in table.evidence.judgements.values()} == {Verdict.UNDECIDED}
    assert table.starred == frozenset()
    assert "so few models give no p-value below 0.11" in plain_text(table, 200)
    assert "train 3 replicates or more" in plain_text(table, 200)


def test_one_replicate_has_no_evidence() -> None:
    table = comparison(frame(replicated_sweep(1, AWAY)), STUDIES)
    assert table.evidence is None
    assert evidence_grid(table) == []
    text = plain_text(table)
    assert "Evidence" not in text
    assert "set seeds.replicates to 5" in " ".join(text.split())
    assert "verdict" not in table.frame().columns


def test_an_original_that_was_not_measured_bears_no_verdict() -> None:
    away = {name: shift for name, shift in AWAY.items() if name != "original"}
    table = comparison(frame(replicated_sweep(5, away)), STUDIES)
    assert table.evidence is not None
    assert table.starred == frozenset()
    assert plain_text(table)


def test_a_replicate_that_failed_is_left_out() -> None:
    rows = replicated_sweep(5, AWAY)
    (lost,) = (
        number
        for number, row in enumerate(rows)
        if (row["study"], row["seed"], row["replicate"]) == ("finetune", 3, 1)
    )
    failed = one_row("finetune", 3, None, state="failed", failure="loss is nan", replicate=1)  # type: ignore[arg-type]
    table = comparison(frame([*rows[:lost], failed, *rows[lost + 1 :]]), STUDIES)
    assert "finetune: 9 of 10 runs: loss is nan" in plain_text(table)
    assert table.evidence is not None
    assert table.evidence.judgements["finetune"].verdict == Verdict.INDISTINGUISHABLE
