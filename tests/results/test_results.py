"""`python -m unlearn_ray.results` over rows and records in a real store."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.results.rows import small_sweep
from unlearn_ray.cli.results import EXAMPLES
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.reporting.query import query
from unlearn_ray.results import load, main
from unlearn_ray.storage.store import Record, Work, open_store

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture
def store(tmp_path: Path) -> str:
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"row{number:03}", row)
    return str(tmp_path / "store")


def record(kind: str, key: str, **config: Any) -> Record:
    return Record(
        kind=kind, key=key, config={"kind": kind, **config}, inputs={}, files={}, result={},
        seconds=1.0, created="2026-01-01T00:00:00Z", versions={}, host="here",
        sweep="small", row="", workers=1, accelerators=1.0, earlier_seconds=0.0,
    )  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) in (Exit.BAD_INPUT, Exit.STORE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_load_gives_every_row(store: str) -> None:
    rows = load(store)
    assert len(rows) == len(small_sweep())
    winner = rows[(rows["study"] == "finetune") & (rows["seed"] == 2)]
    assert winner["average_gap"].item() == 1.0
    assert winner["hp_learning_rate"].item() == 0.02


SQL = "SELECT study, seed, average_gap FROM rows WHERE purpose = 'reporting' ORDER BY ALL"
ANSWER = [("finetune", 2, 1.0), ("finetune", 3, 2.0), ("neggrad", 2, 0.25), ("neggrad", 3, 0.25)]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_formats_round_trip(store: str, tmp_path: Path, kind: str, place: str) -> None:
    path = tmp_path / "answer"
    options = ["--format", kind, "--output", str(path)]
    command = ["query", SQL]
    order = [store, *options, *command] if place == "before" else [store, *command, *options]
    assert main(order) == 0
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[kind]
    found = read(path)
    assert list(found.itertuples(index=False, name=None)) == ANSWER


def test_query_prints_an_aligned_table(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, store, "query", SQL).splitlines()
    assert lines[0].split() == ["study", "seed", "average_gap"]
    assert lines[2].split() == ["finetune", "2", "1"]
    assert len(lines) == 2 + len(ANSWER)
    markdown = printed(capsys, store, "query", SQL, "--format", "markdown").splitlines()
    assert markdown[2] == "| finetune | 2 | 1 |"


def test_query_reads_columns_without_any_value(store: str) -> None:
    rows = open_store(store).read_rows()
    assert rows.schema.field("failure").type == pa.null()
    found = query(rows, "SELECT count(*) AS n, count(failure) AS f FROM rows").to_pylist()
    assert found == [{"n": len(small_sweep()), "f": 0}]
    assert query(rows, "DESCRIBE rows").num_rows == rows.num_columns


def test_views_answer_what_people_ask(store: str) -> None:
    rows = open_store(store).read_rows()
    # The smallest value over all rows is that of a retrained model, of a lucky seed of tuning ...
    smallest = query(rows, "SELECT min(average_gap) AS gap FROM rows").to_pylist()
    assert smallest == [{"gap": 0.0}]
    found = query(
        rows,
        "SELECT study, trial, runs, average_gap_of_means AS of_means, mean_average_gap AS mean, "
        "retain_accuracy_gap_of_means AS ra FROM winners ORDER BY average_gap_of_means",
    ).to_pylist()
    assert [line["study"] for line in found] == ["neggrad", "finetune"]
    assert found[1] == {
        "study": "finetune", "trial": 1, "runs": 2, "of_means": 1.0, "mean": 1.5, "ra": 0.0,
    }  # fmt: skip
    trials = query(
        rows,
        "SELECT trial, state, seeds, mean_average_gap AS gap FROM trials "
        "WHERE study = 'finetune' ORDER BY trial",
    ).to_pylist()
    assert [tuple(line.values()) for line in trials] == [
        (0, "complete", 2, 4.0), (1, "complete", 2, 1.0), (2, "stopped", 1, 2.0),
    ]  # fmt: skip
    references = query(
        rows,
        "SELECT study, seed FROM References WHERE 'ä' > 'references' OR study = 'ü' ORDER BY ALL",
    ).to_pylist()
    assert [tuple(line.values()) for line in references] == [
        ("original", 2), ("original", 3), ("retrain", 2),
    ]  # fmt: skip
    joined = query(
        rows, "WITH w AS (SELECT * FROM winners) SELECT w.study, count(*) AS n FROM w JOIN trials "
        "ON w.study_key = trials.study_key AND w.point = trials.point GROUP BY ALL ORDER BY ALL"
    ).to_pylist()  # fmt: skip
    assert joined == [{"study": "finetune", "n": 1}, {"study": "neggrad", "n": 1}]
    assert query(rows, "DESCRIBE winners").num_rows > 20
    assert query(rows, 'SELECT count(*) FROM "references"').num_rows == 1


def test_a_store_without_winners_has_empty_views(tmp_path: Path) -> None:
    opened = open_store(str(tmp_path / "store"))
    tuning = [row for row in small_sweep() if row["purpose"] == "tuning"]
    for number, row in enumerate(tuning):
        opened.write_row(f"row{number:03}", row)
    rows = opened.read_rows()
    for view in ("winners", "references"):
        assert query(rows, f"SELECT study FROM {view}").num_rows == 0
    assert query(rows, "SELECT count(*) AS n FROM trials").to_pylist() == [{"n": 6}]


def test_a_store_with_reference_models_alone_has_empty_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one has whose first trial runs, or whose retraining failed."""
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(row for row in small_sweep() if row["purpose"] == "reference"):
        opened.write_row(f"row{number:03}", row)
    rows = opened.read_rows()
    for view in ("winners", "trials"):
        assert query(rows, f"SELECT study, trial FROM {view}").num_rows == 0
    assert query(rows, "SELECT study FROM references").num_rows == rows.num_rows
    header = printed(capsys, str(tmp_path / "store"), "compare", "--format", "csv")
    assert header.startswith("sweep,study,starred,")


@pytest.mark.parametrize("number", range(EXAMPLES.count("query ") + README.count("query ")))
def test_examples_run(store: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of --help and of the README."""
    examples = re.findall(r'query (?:\\\n\s+)?"([^"]+)"', EXAMPLES + README)
    assert len(examples) == EXAMPLES.count("query ") + README.count("query ")
    text = printed(capsys, store, "query", examples[number].replace("'quickstart'", "'small'"))
    assert len(text.splitlines()) > 2


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT avrage_gap FROM rows", 'Referenced column "avrage_gap" not found'),
        ("SELECT * FROM row_s", "Table with name row_s does not exist"),
        ("SELCT 1", 'syntax error at or near "SELCT"'),
        ("", "not one SELECT"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("DROP VIEW rows", "not one SELECT"),
        ("DELETE FROM rows", "not one SELECT"),
        ("COPY (SELECT 1) TO 'out.csv'", "not one SELECT"),
        ("ATTACH 'other.db'", "not one SELECT"),
        ("SET enable_external_access = true", "not one SELECT"),
        ("SELECT * FROM read_csv('/etc/hostname')", "disabled by configuration"),
    ],
)
def test_a_query_that_is_refused(
    store: str, sql: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, store, "query", sql)
    assert reason in error
    assert f"query {sql!r}" in error
    assert error.count("\n") == 1


def test_query_writes_nothing(store: str, tmp_path: Path) -> None:
    rows = open_store(store).read_rows()
    target = tmp_path / "out.csv"
    with pytest.raises(BadInput):
        query(rows, f"COPY rows TO '{target}'")
    assert not target.exists()


def test_best_gives_the_winner_of_each_study(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(capsys, store, "best", "--format", "json"))
    assert [(line["study"], line["trial"]) for line in found] == [("finetune", 1), ("neggrad", 1)]
    assert found[0]["mean_average_gap"] == 1.0
    assert (found[0]["complete"], found[0]["stopped"], found[0]["failed"]) == (2, 1, 0)
    assert json.loads(found[0]["hyperparameters"])["learning_rate"] == 0.02


def test_compare_prints_the_papers_table(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, store, "compare")
    assert "91.00 ± 0.00 (0.00)" in text
    assert "no verdict and no star" in text
    found = pd.read_csv(io.StringIO(printed(capsys, store, "compare", "--format", "csv")))
    gaps = dict(zip(found["study"], found["mean_average_gap"], strict=True))
    assert gaps["finetune"] == pytest.approx(1.5)
    assert gaps["neggrad"] == pytest.approx(0.25)


def test_compare_of_one_sweep(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_store(store)
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"other{number:03}", {**row, "sweep": "other"})
    path = tmp_path / "table.txt"
    assert main([store, "compare", "--output", str(path)]) == 0
    assert path.read_text().count("(gap to retrain)") == 2
    assert path.read_text().count("Not in the average gap") == 2
    only = printed(capsys, store, "compare", "--sweep", "other", "--format", "markdown")
    assert only.startswith("other: ")
    assert "small: " not in only
    error = refused(capsys, store, "compare", "--sweep", "smal")
    assert "--sweep smal: no rows of this sweep; did you mean small?" in error


def test_diff_explains_two_keys(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened = open_store(store)
    training = {"epochs": 40, "batch_size": 128}
    first = {"seed": 0, "training": training, "metrics": [{"name": "emia", "views": 10}]}
    second = {
        "seed": 0,
        "training": {**training, "epochs": 50},
        "metrics": [{"name": "emia", "views": 4}, {"name": "cmia"}],
    }
    assert opened.complete(record("pretrain", "aa11aa11aa11aa11", **first))
    assert opened.complete(record("pretrain", "aa22aa22aa22aa22", **second))
    assert opened.complete(record("retrain", "bb22aa22aa22aa22", **second))
    lines = json.loads(printed(capsys, store, "diff", "aa1", "aa2", "--format", "json"))
    assert lines == [
        {"field": name, "aa11aa11aa11aa11": left, "aa22aa22aa22aa22": right}
        for name, left, right in [
            ("metrics[emia].views", "10", "4"),
            ("training.epochs", "40", "50"),
            ("metrics[cmia].name", None, '"cmia"'),
        ]
    ]
    kinds = printed(capsys, store, "diff", "aa2", "bb").splitlines()[-1]
    assert kinds.split() == ["kind", '"pretrain"', '"retrain"']
    assert main([store, "diff", "aa1", "aa11"]) == 0
    assert "have the same config" in capsys.readouterr().err
    assert "give more digits: pretrain aa11aa11aa11aa11, pretrain aa22" in refused(
        capsys, store, "diff", "aa", "bb"
    )
    assert "key ff: no key starts with it" in refused(capsys, store, "diff", "aa1", "ff")


def test_compact_merges_and_keeps_every_row(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = load(store)
    assert main([store, "compact"]) == 0
    assert f"{len(before)} row files merged" in capsys.readouterr().err
    pd.testing.assert_frame_equal(load(store), before)
    assert main([store, "compact"]) == 0
    assert "nothing to merge" in capsys.readouterr().err


def test_compact_says_that_another_one_does(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = open_store(store, lease_seconds=0.5).lease("compaction", Work("compaction"))
    assert lease is not None
    monkeypatch.setattr(
        "unlearn_ray.storage.store.open_store", lambda url: open_store(url, lease_seconds=0.5)
    )
    with lease:
        assert main([store, "compact"]) == 0
    assert "another process is merging rows" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["best"], ["compare"]])
def test_an_empty_store_says_so(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), *command]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{tmp_path} holds no rows yet" in captured.err


def test_bad_input_is_told(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in refused(capsys, str(tmp_path / "none"), "compare")
    assert not (tmp_path / "none").exists()
    assert "unknown scheme gs" in refused(capsys, "gs://bucket", "compare")
    assert "add --output FILE" in refused(capsys, store, "best", "--format", "parquet")
    missing = tmp_path / "no" / "folder"
    assert f"--output {missing}" in refused(capsys, store, "best", "--output", str(missing))


def test_a_damaged_row_is_told_of_and_the_others_are_shown(
    store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    count = "SELECT count(*) AS n FROM rows"
    before = int(printed(capsys, store, "query", count, "--format", "csv").split()[1])
    damaged = next((tmp_path / "store").rglob("row000*"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    for command in ("compare", "best", "compact"):
        caplog.clear()
        assert main([store, command]) == 0
        assert f"{damaged.name} of {store}: not a readable Parquet file" in caplog.text
        assert "delete that object and run the sweep again" in caplog.text
    capsys.readouterr()
    assert int(printed(capsys, store, "query", count, "--format", "csv").split()[1]) == before - 1
    assert damaged.exists()


ATTACK = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\r\n\u2028"


def test_what_rows_say_is_not_obeyed_by_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "attacked")
    opened = open_store(url)
    for number, row in enumerate(small_sweep()):
        attacked = {
            **row, "sweep": f"small{ATTACK}", "study": f"{row['study']}{ATTACK}",
            "host": ATTACK, "model": f"resnet8{ATTACK}",
        }  # fmt: skip
        opened.write_row(f"s/{number}", attacked)
    opened.write_row("s/x", {**row, "state": "failed", "failure": ATTACK, "score": None})
    shown = [
        printed(capsys, url, command, "--format", kind)
        for command in ("compare", "best")
        for kind in ("table", "markdown")
    ]
    shown.append(printed(capsys, url, "query", "SELECT * FROM rows"))
    monkeypatch.setenv("TERM", "dumb")  # rich writes no escapes of its own
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown += [
        printed(capsys, url, "query", f"SELECT {column} FROM rows", "--format", kind)
        for column in ("sweep", "failure")
        for kind in ("table", "csv", "json")
    ]
    for text in shown:
        assert not set(text) & set("\x1b\x07\x9b\u202e\r\u2028"), text
    assert any("\\x1b]0;title" in text for text in shown)
    refused(capsys, url, "compare", "--sweep", f"smal{ATTACK}")


def test_parquet_keeps_whole_numbers_whole(store: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    sql = "SELECT seed, trial, average_gap FROM rows WHERE study = 'finetune'"
    assert main([store, "query", sql, "--format", "parquet", "--output", str(path)]) == 0
    assert [field.type for field in pq.read_schema(path)] == [pa.int64(), pa.int64(), pa.float64()]


def run(*arguments: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unlearn_ray.results", *arguments]
    if shell:
        command = ["bash", "-c", f'set -o pipefail; "$0" "$@" {shell}', *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_as_a_command(store: str, tmp_path: Path) -> None:
    table = run(store, "compare")
    assert (table.returncode, table.stderr) == (0, "")
    assert "neggrad " in table.stdout
    bad = run(store, "query", "SELECT nothing FROM rows")
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: query 'SELECT nothing FROM rows'")


def test_help_teaches_by_examples(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "python -m unlearn_ray.results ./store compare" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([store])


def test_a_reader_that_leaves_early_is_no_error(store: str) -> None:
    sql = "SELECT a.* FROM rows a, rows b, rows c"
    piped = run(store, "query", sql, "--format", "csv", shell="| head -1")
    assert piped.returncode == 0
    assert piped.stderr == ""
    assert piped.stdout.startswith("row,sweep,study")
