"""What people see of how far sweeps are."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from unlearn_ray.core.errors import Exit
from unlearn_ray.monitor.running import Running
from unlearn_ray.monitor.status import Failure, SweepStatus, Throughput
from unlearn_ray.monitor.time_left import Span
from unlearn_ray.reporting.status_view import json_status, plain_status, rich_status
from unlearn_ray.studies.history import StudyProgress
from unlearn_ray.sweep import main

STEP = Running("unlearn by neggrad (seed 0), trial 4", "node-3", 812, 95.0, 4.0, "alive")
STATUS = SweepStatus(
    name="tiny",
    started="2026-01-01T10:00:00+00:00",
    host="head",
    process=99,
    drivers=(),
    driver_ended=False,
    references={"pretrain": (2, 2), "retrain": (1, 2), "measure": (0, 3)},
    scores=(0, 0),
    studies=(
        StudyProgress("finetune", 6, 2, 1, 1, 1, 1.234, 0, 2),
        StudyProgress("neggrad", 6, 0, 0, 0, 0, None, 0, 2),
    ),
    failures=(Failure("finetune", 7, "2026-01-01T10:10:00+00:00", "loss [a] became NaN"),),
    running=(STEP,),
    throughput=Throughput(last_hour=120.0, overall=80.4),
    seconds_left=Span(6500.0, 9000.0),
    hours={"pretrain": 1.5, "retrain": 1.0, "unlearn": 0.25, "measure": 0.25},
    budget_hours=20.0,
)


DRIVER = Running("driver", "head", 99, 95.0, 4.0, "alive")


def said(**changes: object) -> str:
    return plain_status([replace(STATUS, **changes)], "./store")  # type: ignore[arg-type]


def test_plain_text_says_everything() -> None:
    text = said()
    for words in (
        "tiny on ./store: running, process 99 on head since 2026-01-01T10:00:00+00:00",
        "reference steps 3/7 (pretrain 2/2, retrain 1/2, measure 0/3)",
        "unlearn by neggrad (seed 0), trial 4  812 on node-3  1 min 35 s  4 s ago",
        "loss [a] became NaN",
        "trials x seeds an hour: 120 in the last hour, 80 overall",
        "time left: about 108 min to 3 h",
        "accelerator hours: 3.00 (pretrain 1.50, retrain 1.00, unlearn 0.25, measure 0.25)",
        "budget: 20 accelerator hours, 17.00 left",
    ):
        assert words in text
    lines = [line.split() for line in text.splitlines()]
    assert ["finetune", "4/6", "2", "1", "1", "1", "1.23", "0/2"] in lines
    assert ["neggrad", "0/6", "0", "0", "0", "0", "-", "0/2"] in lines
    assert ["7", "finetune", "2026-01-01T10:10:00+00:00", "loss", "[a]", "became", "NaN"] in lines


def test_what_is_not_there_is_not_said() -> None:
    nothing = Throughput(None, None)
    text = said(running=(), failures=(), throughput=nothing, seconds_left=None, budget_hours=None)
    assert "no step runs now; started by process 99 on head" in text
    for word in ("Running", "Failures", "an hour", "left", "budget"):
        assert word not in text


def test_it_says_what_has_ended() -> None:
    assert "stopped; its driver (process 99 on head, " in said(driver_ended=True)
    both = (DRIVER, replace(DRIVER, host="other"))
    assert "running, 2 drivers (process 99 on head, process 99 on other)" in said(drivers=both)
    dead, silent = (replace(STEP, heartbeat=how, seen_seconds=300) for how in ("dead", "silent"))
    assert "none: the process has ended" in said(running=(dead,))
    assert "none for 5 min 00 s" in said(running=(silent,))
    done = {kind: (of, of) for kind, (_, of) in STATUS.references.items()}
    studies = tuple(
        replace(one, complete=one.wanted, stopped=0, failed=0, reported=2) for one in STATUS.studies
    )
    finished = said(references=done, studies=studies, running=(), driver_ended=True)
    assert "tiny on ./store: finished\n" in finished
    assert "time left" not in finished
    halted = said(references=done, studies=(replace(studies[0], wanted=9),), budget_hours=3.0)
    assert "tiny on ./store: finished; its budget is spent\n" in halted


def test_long_lists_are_cut() -> None:
    failures = STATUS.failures * 9
    running = (STEP,) * 30
    text = said(failures=failures, running=running)
    assert text.count("loss [a]") == 5
    assert text.count("trial 4") == 20
    assert "and 4 more" in text
    assert "and 10 more" in text


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_gets_tables_that_fit(width: int) -> None:
    console = Console(file=io.StringIO(), record=True, force_terminal=True, width=width)
    console.print(rich_status([STATUS], "./store"))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert "loss [a]" in " ".join(" ".join(lines).split())  # no markup


def test_json_is_for_programs() -> None:
    told = json.loads(json.dumps(json_status([STATUS], "./store")))
    (sweep,) = told["sweeps"]
    assert told["store"] == "./store"
    assert sweep["studies"][0]["best"] == 1.234
    assert sweep["seconds_left"] == {"low": 6500.0, "high": 9000.0}
    assert sweep["references"]["retrain"] == [1, 2]
    assert sweep["running"][0]["heartbeat"] == "alive"
    assert (sweep["finished"], sweep["halted"]) == (False, False)


# The command


def begin(store: Path) -> None:
    manifest = {
        "name": "tiny",
        "started": "2026-01-01T00:00:00+00:00",
        "driver": {"host": "elsewhere", "pid": 7, "machine": "", "started": ""},
        "references": [],
        "studies": [{"kind": "finetune", "key": "k", "name": "finetune", "trials": 1}],
        "tuning": [0],
        "runs": 1,
        "reference_scores": 0,
        "study_scores": 0,
        "budget_hours": None,
    }
    (store / "sweeps").mkdir(parents=True)
    (store / "sweeps" / "tiny.json").write_text(json.dumps(manifest))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path)
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"tiny on {tmp_path}: no step runs now")
    assert main(["status", str(tmp_path), "tiny", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["sweeps"][0]["name"] == "tiny"
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]  # it writes nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: store .*nowhere: no such folder"),
        (["empty"], "error: store .*empty: no sweep was started on it"),
        ([".", "tny"], "error: sweep tny: no sweep of this name .*; did you mean tiny"),
        (["s3://b_!/x"], "error: store = s3://b_!/x: .* is not a bucket"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["status", *arguments]) in (Exit.BAD_INPUT, Exit.STORE)
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert re.match(message, line), line


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_watching_takes_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["status", "store", "--watch", seconds])
    assert "--watch" in capsys.readouterr().err


def test_help_teaches_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["status", "--help"])
    out = capsys.readouterr().out
    for words in ("STORE", "--watch", "--json", "examples:", "exit status"):
        assert words in out


@pytest.mark.parametrize("terminal", [False, True])
def test_it_watches_until_all_is_finished(terminal: bool, tmp_path: Path) -> None:
    begin(tmp_path)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "unlearn_ray.sweep", "status", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--watch", "0.2"],
        stdout=theirs if terminal else subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    source = os.fdopen(ours, "rb") if terminal else process.stdout
    assert source is not None
    seen = b""
    while seen.count(b"no step runs now") < 2:
        told = os.read(source.fileno(), 4096)
        assert told, "it ended"
        seen += told
    manifest = (tmp_path / "sweeps" / "tiny.json").read_text()
    (tmp_path / "sweeps" / "tiny.json").write_text(manifest.replace('"trials": 1', '"trials": 0'))
    try:
        while data := os.read(source.fileno(), 4096):
            seen += data
    except OSError:  # how a terminal ends
        assert terminal
    source.close()
    assert process.wait(30) == 0
    assert b": finished" in seen
    assert (b"\x1b[" in seen) == terminal
