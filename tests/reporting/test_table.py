"""The comparison against numbers computed by hand."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from tests.results.rows import frame, one_row, small_sweep
from unlearn_ray.core.runs import Run
from unlearn_ray.evidence import verdicts as evidence
from unlearn_ray.evidence.populations import JointTest
from unlearn_ray.evidence.verdicts import Judgement, Verdict
from unlearn_ray.reporting.evidence import Evidence
from unlearn_ray.reporting.grid import blocks
from unlearn_ray.reporting.ranking import best_trials, scored_trials
from unlearn_ray.reporting.render import hyperparameters, markdown, plain_text, rich_view
from unlearn_ray.reporting.table import Cell, Comparison, Line, comparison, comparisons
from unlearn_ray.studies.rows import State
from unlearn_ray.train.compute import Machine

NO_EVIDENCE = (
    "no verdict and no star: without several retrained models of each split nobody knows how far"
    " two of them lie apart; set seeds.replicates to 5"
)


def test_numbers_are_those_computed_by_hand() -> None:
    table = comparison(frame(small_sweep()))
    retrain, original, finetune, neggrad = table.lines
    assert [line.study for line in table.lines] == ["retrain", "original", "finetune", "neggrad"]
    assert table.counted == ("retain_accuracy", "test_accuracy")
    assert list(table.headers)[:3] == ["retain_accuracy", "test_accuracy", "forgetting_score"]

    assert retrain.metrics is not None
    assert retrain.runs == ((2, 0), (3, 0))
    assert retrain.metrics["retain_accuracy"].mean == 91.0
    assert retrain.metrics["retain_accuracy"].std == pytest.approx(math.sqrt(2))
    assert retrain.metrics["test_accuracy"].mean == 82.0
    assert retrain.metrics["test_accuracy"].gap_of_means is None
    assert retrain.seconds is not None
    assert retrain.seconds.mean == 30.0
    assert (retrain.average_gap_of_means, retrain.mean_average_gap) == (None, None)

    # Retain accuracy is 91 and 91 where the retrained model has 90 and 92: the means agree, and
    # each seed's gap is 1 all the same.
    assert finetune.metrics is not None
    cell = finetune.metrics["retain_accuracy"]
    assert (cell.mean, cell.std, cell.gap_of_means, cell.mean_gap) == (91.0, 0.0, 0.0, 1.0)
    cell = finetune.metrics["test_accuracy"]
    assert (cell.mean, cell.gap_of_means, cell.mean_gap) == (80.0, 2.0, 2.0)
    assert finetune.metrics["forgetting_score"].mean_gap == pytest.approx(0.05)
    assert finetune.metrics["forgetting_score"].gap_of_means == pytest.approx(0.0)
    assert finetune.average_gap_of_means == 1.0  # of 0 and 2
    assert finetune.average_gap_percentage_of_means == pytest.approx(100 * (0 + 2 / 82) / 2)
    assert finetune.mean_average_gap is not None
    assert finetune.mean_average_gap.mean == pytest.approx(1.5)  # (1 + 1) / 2 and (1 + 3) / 2
    assert finetune.mean_average_gap.std == pytest.approx(math.sqrt(0.5))
    assert finetune.mean_average_gap_percentage is not None
    percent = (100 * (1 / 90 + 1 / 80) / 2 + 100 * (1 / 92 + 3 / 84) / 2) / 2
    assert finetune.mean_average_gap_percentage.mean == pytest.approx(percent)
    assert finetune.seconds is not None
    assert finetune.seconds.mean == 2.0
    assert finetune.trial == 1
    assert finetune.hyperparameters is not None
    assert finetune.hyperparameters["learning_rate"] == 0.02

    assert neggrad.average_gap_of_means == pytest.approx(0.25)
    assert table.starred == frozenset()  # one model of each seed bears nothing
    assert original.metrics is not None
    assert original.metrics["retain_accuracy"].gap_of_means == pytest.approx(3.0)  # 4 and 2


def test_errors_of_opposite_sign_cancel_in_mucs_gap_and_in_no_mean_gap() -> None:
    """As in MUC's Table 1 of MoCo at 10 %: 0.92 there is 2.20 if gaps are averaged over seeds."""
    rows = [
        one_row("finetune", 2, 96.0, 77.0),
        one_row("finetune", 3, 86.0, 87.0),
        one_row("neggrad", 2, 88.0, 82.0),
        one_row("neggrad", 3, 90.0, 86.0),
    ]
    table = comparison(frame(rows))
    finetune, neggrad = table.lines[-2:]
    assert finetune.average_gap_of_means == 0.0
    assert finetune.mean_average_gap is not None
    assert finetune.mean_average_gap.mean == (6 + 3 + 6 + 3) / 4
    assert neggrad.average_gap_of_means == 2.0
    assert neggrad.mean_average_gap is not None
    assert neggrad.mean_average_gap.mean == 2.0
    text = plain_text(table)
    line = next(line for line in text.splitlines() if line.startswith("finetune  "))
    assert "91.00 ± 7.07 (0.00)" in line
    assert "|difference of the means over runs|, as in MUC's tables" in " ".join(text.split())
    one_seed = plain_text(comparison(frame(rows[:1])))
    assert "Per run" not in one_seed
    assert "means over runs" not in one_seed


def test_class_accuracies_replace_the_test_accuracy_that_is_made_of_them() -> None:
    rows = frame(small_sweep())
    for name in ("test_accuracy_remaining", "test_accuracy_forgotten"):
        rows[name], rows[f"{name}_retrained"], rows[f"{name}_gap"] = 61.5, 50.0, 11.5
    table = comparison(rows)
    assert table.counted == (
        "retain_accuracy", "test_accuracy_remaining", "test_accuracy_forgotten",
    )  # fmt: skip
    _, _, further = plain_text(table).partition("Not in the average gap")
    assert "TA" in further.split("\n\n")[0].split()
    assert table.lines[-1].average_gap_of_means == pytest.approx((0.25 + 11.5 + 11.5) / 3)


def test_a_retrained_value_of_zero_has_no_percentage() -> None:
    """As test accuracy on a forgotten class has."""
    rows = frame([one_row("finetune", seed, 91.0, 79.0) for seed in (2, 3)])
    name = "test_accuracy_forgotten"
    rows[name], rows[f"{name}_retrained"], rows[f"{name}_gap"] = 3.0, 0.0, 3.0
    table = comparison(rows)
    percentage = table.lines[-1].average_gap_percentage_of_means
    assert percentage is not None
    assert math.isnan(percentage)
    text = plain_text(table)
    assert "nan" not in text
    rows[name], rows[f"{name}_gap"] = 0.0, 0.0
    percentage = comparison(rows).lines[-1].average_gap_percentage_of_means
    assert percentage == pytest.approx(100 * (0 + 3 / 82 + 0) / 3)


def test_no_mean_is_over_fewer_seeds_than_it_says() -> None:
    """One retrained model tells no sample of the forgotten class, another one tells some."""
    rows = frame([one_row("finetune", seed, 91.0, 79.0, forget=80.0) for seed in (2, 3)])
    assert comparison(rows).lines[-1].tug_of_war is not None
    rows["average_gap_percentage"] = [math.nan, 10.0]
    rows["tug_of_war"] = [None, 0.5]
    line = comparison(rows).lines[-1]
    assert line.mean_average_gap is not None
    assert (line.mean_average_gap_percentage, line.tug_of_war) == (None, None)

    tuning = [one_row("finetune", seed, 91.0, 79.0, purpose="tuning") for seed in (0, 1)]
    failed = one_row("finetune", 1, None, purpose="tuning", state=State.FAILED, trial=1)
    rows = frame([*tuning, {**tuning[0], "trial": 1}, failed])
    percentage = rows.loc[0, "average_gap_percentage"]
    rows.loc[1, "average_gap_percentage"] = math.nan
    some, whole = scored_trials(rows)["mean_average_gap_percentage"]
    assert math.isnan(some)
    assert whole == percentage


def test_numbers_of_several_kinds_of_machine_are_told() -> None:
    cpus = [Machine("cpu: a model", threads, "AVX2") for threads in (1, 2)]
    one = comparison(frame(small_sweep()))
    assert not any("kinds of machine" in note for note in one.notes)
    assert one.time_unit == ("CPU s", 1.0)
    rows = [one_row("finetune", seed, 91.0, 79.0, machine=cpus[seed - 2]) for seed in (2, 3)]
    table = comparison(frame(rows))
    assert table.notes == (
        "warning: computed on 2 kinds of machine, whose numbers differ for the same seeds: "
        "cpu: a model, AVX2, 1 thread; cpu: a model, AVX2, 2 threads",
        NO_EVIDENCE,
    )
    assert "warning: computed on 2 kinds of machine" in plain_text(table)
    gpu = Machine("cuda: a GPU", 1, "sm_90")
    assert comparison(frame([{**rows[0], "made_on": str(gpu)}])).time_unit == ("GPU s", 1.0)
    both = comparison(frame([rows[0], {**rows[1], "made_on": f"{cpus[0]}; {gpu}"}]))
    assert both.time_unit == ("s", 1.0)
    assert "computed on 2 kinds of machine" in both.notes[0]
    # A tuning row that chose the winner is compared, too.
    chose = one_row("finetune", 0, 91.0, 79.0, purpose="tuning", machine=gpu)
    assert "cuda: a GPU" in comparison(frame([rows[0], chose])).notes[0]


def test_tug_of_war_is_shown_where_it_was_measured() -> None:
    rows = [
        one_row("finetune", 2, 91.0, 79.0, forget=90.0),
        one_row("finetune", 3, 91.0, 84.0, forget=80.0),
        one_row("original", 2, 90.0, 80.0, forget=100.0),
        one_row("neggrad", 2, 91.0, 79.0),
    ]
    table = comparison(frame(rows))
    retrain, original, finetune, neggrad = table.lines
    assert finetune.tug_of_war is not None
    each = [0.9 * 0.99 * 0.99, 1.0 * 0.99 * 1.0]
    assert finetune.tug_of_war.mean == pytest.approx(sum(each) / 2)
    assert finetune.tug_of_war.std == pytest.approx(abs(each[0] - each[1]) / math.sqrt(2))
    assert original.tug_of_war is not None
    assert original.tug_of_war.mean == pytest.approx(0.8)
    assert (retrain.tug_of_war, neggrad.tug_of_war) == (None, None)
    _, _, further = plain_text(table).partition("Not in the average gap")
    rows_shown = further.split("\n\n")[0].strip().splitlines()
    lines = {line.split()[0]: line.split() for line in rows_shown}
    assert lines["Method"][-4:] == ["ToW", "(1", "is", "best)"]
    assert lines["finetune"][-3:] == ["0.9360", "±", "0.0763"]
    assert lines["original"][-1] == "0.8000"
    assert lines["neggrad"][-1] == "-"
    found = table.frame().set_index("study")
    assert found.loc["finetune", "tug_of_war"] == pytest.approx(sum(each) / 2)


def test_tug_of_war_is_not_shown_where_nothing_measured_it() -> None:
    text = plain_text(comparison(frame(small_sweep())))
    assert "ToW" not in text
    assert "\nfinetune (trial 1): " in text
    best = best_trials(frame(small_sweep()))
    assert list(best["method"]) == ["finetune", "neggrad"]


def test_one_seed_has_no_deviation() -> None:
    table = comparison(frame([one_row("finetune", 2, 91.0, 79.0)]))
    line = table.lines[-1]
    assert line.metrics is not None
    assert line.metrics["retain_accuracy"].std is None
    assert "±" not in plain_text(table).split("\n", 2)[2]
    assert "91.00 (1.00)" in plain_text(table)


def test_a_method_that_lacks_a_run_says_why() -> None:
    rows = small_sweep()
    rows = [r for r in rows if (r["study"], r["seed"], r["purpose"]) != ("neggrad", 3, "reporting")]
    failed = one_row("neggrad", 3, None, state=State.FAILED, failure="loss is nan", trial=1)
    table = comparison(frame([*rows, failed]))
    assert table.lines[-1].note == "1 of 2 runs: loss is nan"
    assert "neggrad: 1 of 2 runs: loss is nan" in plain_text(table)


def test_a_method_without_rows_says_why() -> None:
    lost = one_row(
        "l1_sparsity", 0, None, purpose="tuning", state=State.FAILED, failure="loss is nan"
    )
    table = comparison(frame([*small_sweep(), lost]), studies=["l1_sparsity", "finetune", "scrub"])
    notes = {line.study: line.note for line in table.lines if line.note}
    assert notes == {
        "l1_sparsity": "no row on a reporting seed (tuning trials: 1 failed; loss is nan)",
        "scrub": "not started",
    }


def test_only_the_newest_study_of_a_method_is_shown() -> None:
    newer = "2026-02-01T00:00:00Z"
    rows = [one_row("finetune", 2, 95.0, 85.0, key="s2", created=newer)]
    table = comparison(frame([*small_sweep(), *rows]))
    finetune = table.lines[2]
    assert finetune.metrics is not None
    assert finetune.metrics["retain_accuracy"].mean == 95.0
    assert table.notes == ("finetune: 1 older study left out", NO_EVIDENCE)


def test_the_winner_of_the_tuning_seeds_is_reported_and_no_former_one() -> None:
    former = [one_row("finetune", seed, 99.0, 99.0, trial=0, created="2027") for seed in (2, 3)]
    finetune = comparison(frame([*small_sweep(), *former])).lines[2]
    assert finetune.trial == 1


def test_no_row_on_a_reporting_seed_yet() -> None:
    rows = [row for row in small_sweep() if row["purpose"] == "tuning"]
    table = comparison(frame(rows))
    assert table.evidence is None
    assert [line.study for line in table.lines] == ["finetune", "neggrad"]
    text = plain_text(table)
    assert "no row on a reporting seed yet" in text
    assert "no row on a reporting seed (tuning trials: 2 complete, 1 stopped)" in text


def test_time_is_in_minutes_where_it_is_long() -> None:
    rows = frame(small_sweep())
    assert comparison(rows).time_unit == ("CPU s", 1.0)
    rows["retraining_compute_seconds"] = 6600.0
    text = plain_text(comparison(rows))
    assert "RTE (CPU min)" in text
    assert "110.00" in text


def test_sweeps_have_tables_of_their_own() -> None:
    other = [one_row("finetune", 2, 91.0, 79.0, sweep="other")]
    assert [t.sweep for t in comparisons(frame([*small_sweep(), *other]))] == ["other", "small"]


def test_renders_hold_the_same_cells() -> None:
    table = comparison(frame(small_sweep()))
    console = Console(width=150, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(rich_view(table, 150))
    for text in (plain_text(table), markdown(table)):
        assert "81.75 ± 2.47 (0.25)" in text
        assert "0.3000 ± 0.0000 (0.0000)" in text
    rich = capture.get()
    assert "81.75 ± 2.47" in rich
    assert "(0.25)" in rich
    for text in (plain_text(table), markdown(table), rich):
        assert "small: digits, random(fraction=0.1), simclr, resnet8(width=8)" in text
        assert "learning_rate=0.02" in text
        assert "RTE (CPU s)" in text


def test_columns_that_are_only_stored_are_named_and_not_printed() -> None:
    rows = frame(small_sweep())
    for name in ("entropy_attack", "entropy_attack_tpr_at_1"):
        rows[name], rows[f"{name}_retrained"], rows[f"{name}_gap"] = 61.5, 50.0, 11.5
    table = comparison(rows)
    for text in (plain_text(table), markdown(table)):
        assert text.count("61.5000") == len(table.lines) - 1  # the retrained model has 50
        assert "Entropy, success" in text
        assert "Entropy, TPR" not in text
        assert "stored and not printed: entropy_attack_tpr_at_1" in text
    assert set(table.frame()["entropy_attack_tpr_at_1"]) == {61.5, 50.0}


def test_plain_columns_are_aligned() -> None:
    lines = plain_text(comparison(frame(small_sweep()))).splitlines()
    rule = next(line for line in lines if line.startswith("---"))
    starts = [i for i, c in enumerate(rule) if c == "-" and (i == 0 or rule[i - 1] == " ")]
    for line in lines[lines.index(rule) + 1 : lines.index(rule) + 5]:
        assert all(line[i] != " " and (i == 0 or line[i - 1] == " ") for i in starts)


def test_the_frame_holds_unrounded_numbers() -> None:
    found = comparison(frame(small_sweep())).frame().set_index("study")
    assert not found["starred"].any()
    assert list(found["runs"]) == [2, 2, 2, 2]
    assert found.loc["finetune", "average_gap_of_means"] == 1.0
    assert found.loc["finetune", "mean_average_gap"] == pytest.approx(1.5)
    assert found.loc["finetune", "retain_accuracy_gap_of_means"] == 0.0
    assert found.loc["finetune", "retain_accuracy_mean_gap"] == 1.0
    assert found.loc["retrain", "retain_accuracy_seed_std"] == pytest.approx(math.sqrt(2))
    assert found["mean_average_gap"].isna()["retrain"]
    assert found.loc["finetune", "compute_seconds"] == 2.0
    assert "average_gap" not in found


def test_trials_are_scored_over_their_tuning_seeds() -> None:
    trials = scored_trials(frame(small_sweep()))
    finetune = trials[trials["study"] == "finetune"].set_index("trial")
    assert list(finetune["state"]) == ["complete", "complete", "stopped"]
    assert list(finetune["mean_average_gap"]) == pytest.approx([4.0, 1.0, 2.0])
    assert list(finetune["seeds"]) == [2, 2, 1]


def test_the_best_trial_is_complete_and_the_first_of_equals() -> None:
    rows = small_sweep()
    equal = [
        one_row("finetune", 0, 89.0, 81.0, purpose="tuning", trial=7),
        one_row("finetune", 1, 91.0, 83.0, purpose="tuning", trial=7),
    ]
    perfect = [one_row("finetune", 0, 90.0, 80.0, purpose="tuning", trial=8)]
    best = best_trials(frame([*rows, *equal, *perfect])).set_index("study")
    assert best.loc["finetune", "trial"] == 1
    assert best.loc["finetune", "mean_average_gap"] == pytest.approx(1.0)
    # Trial 8 was perfect on its only seed: one seed less than the others is not complete.
    counts = ["complete", "stopped", "failed", "unfinished"]
    assert list(best.loc["finetune", counts]) == [3, 1, 0, 1]


def test_trials_that_all_failed_have_no_best() -> None:
    rows = [one_row("finetune", 0, None, purpose="tuning", state=State.FAILED, failure="nan")]
    assert len(best_trials(frame(rows))) == 0
    assert list(scored_trials(frame(rows))["state"]) == ["failed"]


def test_a_sweep_of_which_nothing_was_measured() -> None:
    rows = [
        one_row(method, seed, None, purpose=purpose, state="failed", failure="loss is nan")  # type: ignore[arg-type]
        for method in ("finetune", "neggrad")
        for purpose, seed in (("tuning", 0), ("reporting", 2))
    ]
    for row in rows:
        values = (name for name in row if name.endswith("_retrained") and "key_" not in name)
        row |= dict.fromkeys(values)
    table = comparison(frame(rows))
    assert table.evidence is None
    assert table.lines[-1].note == "0 of 1 run: loss is nan"
    text = plain_text(table)
    assert "neggrad: 0 of 1 run: loss is nan" in text
    assert len(table.frame()) == 3


LONG = {f"metric_{n}": f"A metric's header {n}" for n in range(6)}


def wide_table() -> Comparison:
    """Seven metrics and long names."""
    cell = Cell(mean=123.456, std=12.345, gap_of_means=99.999, mean_gap=99.999)
    names = ("alignment_calibration_paper", "contrastive_unlearning", "x")
    lines = [
        Line(study=name, runs=(Run(1), Run(2)), metrics=dict.fromkeys(LONG, cell),
             mean_average_gap=cell, average_gap_of_means=99.999,
             average_gap_percentage_of_means=1e5, seconds=cell)
        for name in names
    ]  # fmt: skip
    gap = evidence.Comparison(-12.345, -23.456, -1.234, 0.001, 0.05)
    joint = JointTest(1.0, 0.5, 0.001)
    judged = {
        name: Judgement(Verdict.INDISTINGUISHABLE, 123.456, rank, joint, gap)
        for rank, name in enumerate(names, start=1)
    }
    known = Evidence(5, {}, {}, judged, 130.0)
    return Comparison("wide", "a problem " * 15, LONG, tuple(LONG)[:5], tuple(lines), known)


def shown(table: Comparison, width: int | None) -> list[str]:
    if width is None:
        return plain_text(table).splitlines()
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(rich_view(table, width))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [None, 60, 80, 100, 130])
def test_a_table_fits_without_breaking_names_or_numbers(width: int | None) -> None:
    table = wide_table()
    lines = shown(table, width)
    assert max(map(len, lines)) <= (100 if width is None else width)
    words = [*LONG.values(), "123.46 ± 12.35", "(100.00)", "alignment_calibration_paper*"]
    words += ["contrastive_unlearning", "100000.00", "Avg. Gap (pp)", "RTE (min)"]
    for word in words:
        assert any(word in line for line in lines), word
    # A column is with the name of each of its lines.
    of_a_table = [line for line in lines if "123.46" in line and "±" in line]
    for line in of_a_table:
        assert line.split()[0] in {"alignment_calibration_paper*", "alignment_calibration_paper",
                                   "contrastive_unlearning", "x"}  # fmt: skip


def test_blocks_keep_every_column_once_and_in_order() -> None:
    grid = [[f"c{n}" + "x" * (n * 7 % 23) for n in range(12)] for _ in range(3)]
    for width in range(1, 200, 7):
        parts = blocks(grid, width)
        columns = [cell for part in parts for cell in part[0][1:]]
        assert columns == grid[0][1:]
        for part in parts:
            assert part[0][0] == "c0"
            used = sum(map(len, part[0])) + 2 * (len(part[0]) - 1)
            assert used <= width or len(part[0]) == 2
    assert blocks([["alone"], ["cell"]], 3) == [[["alone"], ["cell"]]]


def test_hyperparameters_are_written_as_in_a_sweep_file() -> None:
    text = hyperparameters({"epsilon": None, "nesterov": True, "rate": 0.0123456, "name": "sgd"})
    assert text == "epsilon=null, nesterov=true, rate=0.01235, name=sgd"
    assert hyperparameters({"rates": [0.5, None]}) == "rates=[0.5, null]"


def test_studies_stand_in_the_order_of_their_file() -> None:
    rows = frame([*small_sweep(), one_row("l1_sparsity", 2, 91.0, 79.0)])
    (table,) = comparisons(rows, {"small": ("neggrad", "scrub", "finetune")})
    assert [line.study for line in table.lines] == [
        *("retrain", "original", "neggrad", "scrub", "finetune", "l1_sparsity"),
    ]
    assert table.lines[3].note == "not started"
