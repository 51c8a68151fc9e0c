"""Two sweeps beside each other, against numbers computed by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from tests.results.rows import frame, one_row, small_sweep
from tests.results.searches import one_objective, two_objectives
from unlearn_ray.core.errors import Exit
from unlearn_ray.reporting.two_sweeps import TwoSweeps, two_sweeps
from unlearn_ray.results import main
from unlearn_ray.storage.store import open_store


def rows(sweep: str, shift: Mapping[int, float], **more: Any) -> pd.DataFrame:
    """Finetune, `shift` better in test accuracy, by seed."""
    reported = [
        one_row("finetune", seed, 91.0, 76.0 + by, sweep=sweep, seconds=1.0 + by)
        for seed, by in shift.items()
    ]
    references = [one_row("retrain", 2, 90.0, 80.0, sweep=sweep)]
    return frame([{**row, **more} for row in [*reported, *references]])


def line(found: TwoSweeps, study: str, column: str) -> Any:
    return next(one for one in found.lines if (one.study, one.column) == (study, column)).found


def test_differences_are_paired_by_seed() -> None:
    found = two_sweeps(rows("before", {2: 0.0, 3: 0.0}), rows("after", {2: 1.0, 3: 4.0}), {})
    accuracy = line(found, "finetune", "test_accuracy")
    assert (accuracy.first, accuracy.second, accuracy.value) == (76.0, 78.5, 2.5)
    expected = stats.ttest_rel([77.0, 80.0], [76.0, 76.0]).confidence_interval(0.95)
    assert (accuracy.low, accuracy.high) == pytest.approx(tuple(expected))
    assert (accuracy.paired, accuracy.over, accuracy.counts) == (True, "seed", (2, 2))
    # Retrained models have 80 and 84: gaps of 4 and 8 become 3 and 4; those of RA stay.
    assert line(found, "finetune", "average_gap").value == pytest.approx((3 + 4 - 4 - 8) / 4)
    assert line(found, "finetune", "unlearning_compute_seconds").value == 2.5
    assert found.same == ("retrain",)
    assert found.notes == ()
    text = found.plain_text()
    assert "no number differs: retrain" in text
    assert "before: digits, random(fraction=0.1)" in text
    assert "+2.50 [-16.56, +21.56]" in text
    assert "2 seeds" in text
    assert "| finetune | RA |" in found.markdown()


def test_what_is_not_shared_is_said() -> None:
    first = rows("before", {2: 0.0, 3: 0.0})
    second = pd.concat(
        [rows("after", {3: 1.0}), frame([one_row("neggrad", 3, 90.0, 80.0, sweep="after")])]
    )
    second = second.drop(columns=[name for name in second if "forgetting" in str(name)])
    found = two_sweeps(first, second, {})
    accuracy = line(found, "finetune", "test_accuracy")
    assert (accuracy.counts, accuracy.paired, accuracy.low != accuracy.low) == ((1, 1), True, True)
    assert "only after has results of neggrad" in found.notes
    assert any(note.startswith("only before measured forgetting_score") for note in found.notes)
    assert ["finetune", "RA", "91.00", "91.00", "+0.00", "1 run"] in found.grid()


def test_another_forget_set_leaves_nothing_to_pair() -> None:
    second = rows("after", {2: 1.0, 3: 4.0}, forget_set="random(fraction=0.2)", made_on="cuda: b")
    found = two_sweeps(rows("before", {2: 0.0, 3: 1.0}), second, {})
    accuracy = line(found, "finetune", "test_accuracy")
    expected = stats.ttest_ind([77.0, 80.0], [76.0, 77.0], equal_var=False).confidence_interval()
    assert (accuracy.low, accuracy.high) == pytest.approx(tuple(expected))
    assert not accuracy.paired
    protocol, machines = found.notes
    assert protocol.startswith(
        'warning: the protocols differ in forget_set: "random(fraction=0.1)"'
    )
    assert protocol.endswith("the same seed is another split, and no run is paired")
    assert machines.startswith("warning: computed on different machines (cpu: a model")
    assert "2 seeds, unpaired" in found.plain_text()


def test_fields_of_the_sweep_files_are_named(tmp_path: Path) -> None:
    for sweep in (one_objective, two_objectives):
        opened = sweep(tmp_path)
    everything = opened.read_rows().to_pandas()
    both = [everything[everything["sweep"] == name] for name in ("one", "two")]
    identities = opened.study_identities(set(everything["study_key"]))
    found = two_sweeps(*both, identities)
    (note,) = (note for note in found.notes if "protocols differ" in note)
    assert "objective.name" in note
    assert "tuning: [1, 0] and [0]" in note
    assert "forget_set" not in note


@pytest.fixture
def store(tmp_path: Path) -> str:
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"a/{number:03}", row)
        opened.write_row(f"b/{number:03}", {**row, "sweep": "other"})
    return opened.url


def test_the_command_takes_one_sweep_or_two(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    two = [store, "compare", "--sweep", "small", "--sweep", "other"]
    assert main([*two, "--format", "json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert {one["difference"] for one in found} == {0.0}
    assert {(one["first_sweep"], one["second_sweep"]) for one in found} == {("small", "other")}
    assert main([*two, "--format", "csv"]) == Exit.DONE
    assert len(pd.read_csv(io.StringIO(capsys.readouterr().out))) == len(found)
    assert main(two) == Exit.DONE
    assert "no number differs: retrain, original, finetune, neggrad" in capsys.readouterr().out
    assert main([store, "compare", "--sweep", "small"]) == Exit.DONE
    one = capsys.readouterr().out
    assert one.startswith("small: digits")
    assert main([store, "compare", "--sweep", "small", "--sweep", "small"]) == Exit.DONE
    assert capsys.readouterr().out == one


def test_bad_sweeps_are_refused(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    three = ["--sweep", "small", "--sweep", "other", "--sweep", "third"]
    assert main([store, "compare", *three]) == Exit.BAD_INPUT
    assert "--sweep third: more than two sweeps; name two" in capsys.readouterr().err
    assert main([store, "compare", "--sweep", "small", "--sweep", "othr"]) == Exit.BAD_INPUT
    assert "did you mean other" in capsys.readouterr().err
