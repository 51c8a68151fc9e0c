"""Looking at a store asks no more often for more rows, and says what each row says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import ParquetFile

from benchmarks.large_store import fill
from tests.results.rows import frame, one_row, small_sweep
from tests.s3_server import S3Server
from unlearn_ray.cli.main import main
from unlearn_ray.reporting.query import query as query_of_a_table
from unlearn_ray.reporting.ranking import best_trials, scored_trials
from unlearn_ray.results import load
from unlearn_ray.storage.s3 import S3Bucket
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.history import most_seeds, rows_by_trial, trial_record, winner
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.stored_rows import read_rows

VERBS = ("check_exists", "read", "write", "create", "delete", "entries")
LOOKED = (
    "results {} compare",
    "results {} compare --sweep sweep_0",
    "results {} best",
    "results {} query 'SELECT count(*) FROM rows'",
    "results {} query 'SELECT * FROM winners'",
    "results {} query 'SELECT * FROM trials'",
    "status {}",
    "plan FILE --store {}",
)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this process has asked an S3 server, by verb."""
    counts: Counter[str] = Counter()

    def counting(verb: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            counts[verb] += 1
            return ask(*arguments, **more)

        return counted

    for verb in VERBS:
        monkeypatch.setattr(S3Bucket, verb, counting(verb, getattr(S3Bucket, verb)))
    return counts


def looked(url: str, file: Path, requests: Counter[str]) -> dict[str, dict[str, int]]:
    """The requests of each command."""
    counts = {}
    for line in LOOKED:
        command, _, quoted = line.partition(" '")
        words = [word.format(url).replace("FILE", str(file)) for word in command.split()]
        requests.clear()
        assert main([*words, *([quoted.rstrip("'")] if quoted else [])]) == 0
        counts[line] = dict(requests)
    return counts


def test_no_more_requests_for_more_rows(
    s3_server: S3Server, tmp_path: Path, requests: Counter[str]
) -> None:
    counts, rows = [], []
    for size in (40, 400):
        (tmp_path / f"{size}").mkdir()
        url = s3_server.store_url(f"many/{size}")
        made = fill(open_store(url), tmp_path / f"{size}", size, sweeps=1, studies=2, records=size)
        counts.append(looked(url, made.files[0], requests))
        rows.append(made.rows)
    assert rows[1] > 3 * rows[0]
    assert counts[0] == counts[1]
    for line, each in counts[1].items():
        assert not each.keys() & {"write", "create", "delete"}, line
        if line.startswith("results"):
            # The file of rows, and the manifest.
            assert each["read"] == 2, line


def test_rows_are_the_same_in_one_file_and_in_many(tmp_path: Path) -> None:
    tables = {}
    for small in (False, True):
        folder = tmp_path / f"{small}"
        folder.mkdir()
        fill(open_store(str(folder / "store")), folder, 40, sweeps=2, studies=2, small=small)
        tables[small] = load(str(folder / "store"))
    assert len(tables[True]) > 40
    pd.testing.assert_frame_equal(tables[True], tables[False], check_like=True)


def one_by_one(rows: list[dict[Any, Any]]) -> dict[tuple[str, int], tuple[str, float]]:
    """State and score of each trial, from one row after the other."""
    found = {}
    for study in sorted({row["study"] for row in rows}):
        trials = rows_by_trial(row for row in rows if row["study"] == study)
        seeds = most_seeds(trials.values())
        for number, of in trials.items():
            told = trial_record(number, of, seeds)
            found[study, number] = (str(told.state), told.score)
    return found


def test_trials_and_winners_are_those_of_the_rows(tmp_path: Path) -> None:
    fill(open_store(str(tmp_path / "store")), tmp_path, 300, sweeps=1, studies=3)
    for rows in (frame(small_sweep()), load(str(tmp_path / "store"))):
        expected = one_by_one(rows.to_dict("records"))
        trials = scored_trials(rows)
        found = {
            (study, number): (state, score)
            for study, number, state, score in zip(
                *(trials[name] for name in ("study", "trial", "state", "score")), strict=True
            )
        }
        assert f"{found}" == f"{expected}"
        states = {state for state, _ in expected.values()}
        assert states >= {State.COMPLETE, State.STOPPED}
        for study, number in zip(*(best_trials(rows)[n] for n in ("study", "trial")), strict=True):
            own: list[dict[Any, Any]] = rows[rows["study"] == study].to_dict("records")
            by_trial = rows_by_trial(own)
            seeds = most_seeds(by_trial.values())
            best = winner(trial_record(each, of, seeds) for each, of in by_trial.items())
            assert best is not None
            assert best.number == number


def test_status_counts_what_rows_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = fill(open_store(str(tmp_path / "store")), tmp_path, 300, sweeps=1, studies=3)
    rows = load(str(tmp_path / "store"))
    assert len(rows) == made.rows
    assert main(["status", str(tmp_path / "store"), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["sweeps"]
    expected = one_by_one(rows.query("purpose == 'tuning'").to_dict("records"))
    for study in told["studies"]:
        own = [told for (name, _), told in expected.items() if name == study["name"]]
        states = Counter(state for state, _ in own)
        assert {state: study[state] for state in states} == dict(states)
        assert study["best"] == min(score for state, score in own if state == State.COMPLETE)
        assert study["reported"] == 10


def test_a_study_with_two_points_for_a_number(tmp_path: Path) -> None:
    older: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "purpose": "tuning"}
    rows = [
        one_row("finetune", 0, 89.0, 79.0, **older, learning_rate=0.01),
        one_row("finetune", 1, 91.0, 81.0, **older, learning_rate=0.01),
        one_row("finetune", 0, 90.0, 80.0, **{**older, "created": "2026-01-02T00:00:00Z"},
                learning_rate=0.02),
    ]  # fmt: skip
    trials = scored_trials(frame(rows))
    assert trials[["trial", "point", "seeds"]].to_numpy().tolist() == [[0, rows[0]["point"], 2]]


@pytest.fixture
def columns_read(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The columns of each reading of a file of rows."""
    read: list[set[str]] = []
    whole = ParquetFile.read

    def reading(self: ParquetFile, columns: list[str] | None = None, **more: Any) -> pa.Table:
        read.append(set(self.schema_arrow.names if columns is None else columns))
        return whole(self, columns, **more)

    monkeypatch.setattr(ParquetFile, "read", reading)
    return read


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT host FROM rows", {"host"}),
        ("SELECT host FROM (SELECT * FROM rows) WHERE threads > 0 OR kernels = 'x'",
         {"host", "threads", "kernels"}),
        ("SELECT count(*) FROM rows WHERE sweep = 'sweep_0'", set()),
        ("SELECT a.host FROM rows a JOIN rows b USING (row, seed)", {"host"}),
    ],
)  # fmt: skip
def test_a_query_reads_the_columns_that_it_needs(
    sql: str, wanted: set[str], tmp_path: Path, columns_read: list[set[str]]
) -> None:
    store = open_store(str(tmp_path))
    for number, row in enumerate(small_sweep()):
        store.write_row(f"{number:02}", row)
    store.compact()
    columns_read.clear()
    assert main(["results", store.url, "query", sql]) == 0
    read = set().union(*columns_read)
    # Which rows are valid is known from these.
    assert {"row", "state", "hyperparameters", *wanted} <= read
    assert len(read) <= 13 + len(wanted)


@pytest.mark.parametrize("sql", ["SELECT * FROM rows", "SELECT row, host FROM rows WHERE seed = 3"])
@pytest.mark.parametrize("change", ["none", "grown", "damaged"])
def test_a_query_says_what_the_whole_table_says(
    sql: str, change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    for number, row in enumerate(small_sweep()):
        store.write_row(f"{number:02}", {**row, "host": f"host {number}"})
        if number == 10:
            store.compact()
    if change == "grown":
        store.extend_row("03", {"host": "another host", "added": 1}, anew=["host"])
    if change == "damaged":
        damage(store, "host")
    assert main(["results", store.url, "query", sql, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(query(store, sql))
    if sql == "SELECT * FROM rows":
        assert len(told) == len(small_sweep()) - (11 if change == "damaged" else 0)


def damage(store: Store, column: str) -> None:
    """Alter a byte of one column of the compacted file."""
    (name,) = store.objects.names("rows-compacted/")
    data = bytearray(store.objects.read(name))
    group = ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0)
    (chunk,) = (
        each
        for each in map(group.column, range(group.num_columns))
        if each.path_in_schema == column
    )
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    store.objects.write(name, bytes(data))


def query(store: Store, sql: str) -> str:
    """The answer over all rows, read at once."""
    answer = query_of_a_table(read_rows(store), sql).to_pandas()
    return f"{answer.to_json(orient='records', date_format='iso')}"
