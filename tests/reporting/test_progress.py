"""Progress: what is counted, and what people see of it."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from tests.reporting.replay import Clock
from unlearn_ray.monitor.time_left import Span
from unlearn_ray.reporting import progress_view as views
from unlearn_ray.reporting import words
from unlearn_ray.reporting.expected import trials_of
from unlearn_ray.reporting.progress import Expected, Heard, SweepProgress
from unlearn_ray.reporting.progress_view import gap, line, shown, view
from unlearn_ray.reporting.words import duration, time_left
from unlearn_ray.studies.history import StudyProgress

STUDIES = {
    "finetune": StudyProgress(
        "finetune", wanted=6, complete=2, stopped=1, failed=1, best=1.234, to_report=2
    ),
    "neggrad": StudyProgress("neggrad", wanted=6, complete=6, best=0.5, reported=1, to_report=2),
}


def sweep() -> SweepProgress:
    """Two trainings have a place each, and a third waits for one."""
    progress = SweepProgress(
        "tiny",
        steps=4,
        steps_done=1,
        stored=3,
        places={"training": 2, "trial": 2},
        waits_for={"training": "a GPU"},
        studies={name: replace(study) for name, study in STUDIES.items()},
        works={"training": Expected("training", "training", 3)},
    )
    for name in ("pretrain (seed 1)", "retrain (seed 0)", "retrain (seed 1)"):
        progress.ask(name, "training", name, [name])
    return progress


def begun() -> SweepProgress:
    progress = sweep()
    progress.hear(
        {
            "pretrain (seed 1)": Heard("", "epoch 3 of 12", 0.25),
            "retrain (seed 0)": Heard("", "epoch 1 of 12", 0.0),
            "unlearn": Heard("unlearn by finetune (seed 0), trial 4", "epoch 1 of 2", 0.5),
            "evaluate": Heard("evaluate unlearn by neggrad (seed 0), trial 5", "probe", 0.4),
        }
    )
    return progress


# What is counted


def test_a_step_waits_then_its_worker_starts_then_it_runs() -> None:
    progress = sweep()
    progress.hear({})
    assert "starting a worker: pretrain (seed 1), retrain (seed 0)" in line(progress)
    assert "waiting for a GPU: retrain (seed 1)" in line(progress)
    progress.hear({"pretrain (seed 1)": Heard("", "epoch 3 of 12", 0.25)})
    text = line(progress)
    assert "running: pretrain (seed 1): epoch 3 of 12; starting a worker: retrain (seed 0)" in text
    progress.end("pretrain (seed 1)", [("training", 12.0)])
    progress.hear({})
    assert "pretrain (seed 1)" not in line(progress)
    assert "waiting" not in line(progress)
    assert progress.works["training"].left == 2


def test_what_is_begun_again_is_said_so() -> None:
    progress = sweep()
    heard = {"pretrain (seed 1)": Heard("", "epoch 3 of 12", 0.25)}
    for _ in range(2):
        progress.hear(heard)
    assert progress.notes == ["begun: pretrain (seed 1)"]
    # Its worker was killed, and then another was told to leave.
    progress.hear({"pretrain (seed 1)": Heard("", "starting", None, times=2)})
    progress.hear({})
    progress.hear(heard)
    assert progress.notes == ["begun: pretrain (seed 1)", *["begun again: pretrain (seed 1)"] * 2]


def test_what_another_driver_runs_is_said_so() -> None:
    progress = sweep()
    progress.put_off("retrain (seed 1)")
    progress.hear({})
    assert "run by another driver: retrain (seed 1)" in line(progress)
    progress.ask("retrain (seed 1)", "training", "retrain (seed 1)")  # tried again
    progress.hear({})
    assert "another driver" not in line(progress)


def test_trials_hold_places_too() -> None:
    progress = sweep()
    progress.works["trials"] = Expected("trials", "trial", 9, warm=True)
    for number in range(2):
        progress.ask(f"finetune trial {number}", "trials", f"finetune trial {number}")
    progress.hear({"unlearn": Heard("unlearn by finetune, trial 0", "epoch 1 of 2", 0.5)})
    assert "waiting for a GPU: pretrain (seed 1), retrain (seed 0), retrain (seed 1)" in line(
        progress
    )


def test_time_left_is_of_what_is_left() -> None:
    clock = Clock()
    progress = SweepProgress("tiny", clock=clock, places={"training": 1}, steps=3)
    progress.works = {"training": Expected("pretrain", "training", 3)}
    assert progress.left() is None
    progress.took("pretrain", [100.0] * 3)
    span = progress.left()
    assert span is not None
    assert span.low < 300 < span.high
    progress.ask("a", "training", "a", ["a"])
    progress.hear({"a": Heard("", "epoch 1 of 2", 0.0)})
    clock.now = 90.0
    progress.end("a", [("pretrain", 90.0)])
    span = progress.left()
    assert span is not None
    assert span.low < 200 < span.high
    assert re.search(r"so far, about \d to \d min left; ", line(progress))


def test_a_budget_leaves_trials_out() -> None:
    progress = SweepProgress("tiny", places={"trial": 1}, budget=1.0, hours_each_second=1 / 3600)
    progress.works = {"trials of a": Expected("trial", "trial", 100, warm=True)}
    progress.took("trial", [100.0] * 5)
    progress.hours = 0.75
    span = progress.left()
    assert span is not None
    assert span.low < 900 < span.high < 1500  # of 10,000 seconds
    progress.studies["a"] = StudyProgress("a", wanted=100)
    assert progress.left() is not None
    progress.halted = True
    assert progress.left() is None


def test_failures_are_told_one_by_one_as_long_as_they_are_news() -> None:
    progress = SweepProgress("tiny")
    for number in range(100):
        progress.failed("finetune", f"finetune trial {number}", "loss is NaN")
    progress.failed("neggrad", "neggrad trial 0", "loss is NaN")
    assert len(progress.notes) == 5 + 4 + 1
    assert progress.notes[0] == "failed: finetune trial 0: loss is NaN"
    assert progress.notes[-2].startswith("failed: 100 trials of finetune so far; the last: ")


# In words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (190, "3 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 3, "less than a minute left"),
        (35, 60, "less than a minute left"),
        (35, 61, "about 30 s to 2 min left"),
        (3, 100, "less than 2 min left"),
        (245, 415, "about 4 to 7 min left"),
        (240, 240, "about 4 min left"),
        (3600, 7100, "about 60 to 119 min left"),
        (7000, 7300, "about 116 min to 3 h left"),
        (3 * 3600, 4.2 * 3600, "about 3 to 5 h left"),
        (40 * 3600, 70 * 3600, "about 40 h to 3 days left"),
        (9 * 86400, 9.5 * 86400, "about 9 to 10 days left"),
    ],
)
def test_a_range_in_words(low: float, high: float, text: str) -> None:
    assert time_left(Span(low, high)) == text


def test_words_never_rise_while_seconds_fall() -> None:
    for up in (True, False):
        told = [words._rounded(seconds / 4, up=up) for seconds in range(4 * 400_000, 0, -7)]
        lasting = [number * words._SECONDS[unit] for number, unit in told]
        assert all(later <= before for before, later in itertools.pairwise(lasting))


# Without a terminal


def hours(count: float) -> int:
    """Lines of a run of so many hours in which nothing happens."""
    now, lines = views.FIRST_GAP_SECONDS, 0
    while now < 3600 * count:
        assert gap(now) >= 60
        now, lines = now + gap(now), lines + 1
    return lines


def test_lines_thin_out() -> None:
    assert hours(0.1) == 5
    assert 15 < hours(1) < 25
    assert hours(24) < 60
    assert hours(7 * 24) < 250


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(views, "FIRST_GAP_SECONDS", 0.1)


@pytest.mark.usefixtures("hurried")
def test_plain_lines_say_what_happens_and_notes_once() -> None:
    stream, progress = io.StringIO(), begun()
    progress.doing = "starting Ray"
    with shown(progress, Console(file=stream, width=60)):
        time.sleep(0.05)
        assert stream.getvalue() == "tiny: starting Ray\nbegun: pretrain (seed 1)\n" + (
            "begun: retrain (seed 0)\n"
        )
        progress.note("done: pretrain (seed 1) [not markup]")
        time.sleep(0.3)
        progress.note("failed: finetune trial 3: loss is \x1b[31mNaN\r\x07")
    lines = stream.getvalue().splitlines()
    assert lines.count("done: pretrain (seed 1) [not markup]") == 1
    assert (
        lines[-1] == r"failed: finetune trial 3: loss is \x1b[31mNaN\r\x07"
    )  # even at the very end
    text = next(line for line in lines if line.startswith("tiny: 0 s so far"))
    for told in (
        "; reference steps 1/4, 3 more were in the store",
        "; trials: finetune 4/6 (1 failed) best 1.23, neggrad 6/6 best 0.50",
        "; running: pretrain (seed 1): epoch 3 of 12, retrain (seed 0): epoch 1 of 12, "
        "unlearn by finetune (seed 0), trial 4: epoch 1 of 2 and 1 more",
        "; waiting for a GPU: retrain (seed 1)",
    ):
        assert told in text
    # Without a terminal nothing moves.
    assert not re.search("[\x00-\x09\x0b-\x1f]", stream.getvalue())


@pytest.mark.usefixtures("hurried")
def test_the_first_line_comes_at_once() -> None:
    stream = io.StringIO()
    with shown(SweepProgress("tiny", doing="starting Ray"), Console(file=stream)):
        time.sleep(0.02)
        assert stream.getvalue() == "tiny: starting Ray\n"


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"])
def test_a_file_is_no_terminal_whatever_is_forced(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    stream, progress = io.StringIO(), begun()
    progress.doing = "starting Ray"
    with shown(progress, Console(file=stream)):
        time.sleep(0.05)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith("tiny: starting Ray\n")


# On a terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("hurried")
def test_a_terminal_is_shown_every_study_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream, progress = Screen(), begun()
    progress.ask("finetune trial 4", trials_of("finetune"), "finetune trial 4")
    terminal = Console(file=stream, force_terminal=True, width=100, height=30, color_system=None)
    with shown(progress, terminal):
        progress.note("done: retrain (seed 1)")
        time.sleep(0.3)
        progress.studies["finetune"].complete += 1
        time.sleep(0.3)
    text = stream.getvalue()
    assert text.count("done: retrain (seed 1)") == 1
    assert "reference steps 1/4, 3 more were in the store" in text
    for row in (
        "finetune 4/6 1.23 1 1 1 0/2",
        "finetune 5/6 1.23 1 1 1 0/2",
        "neggrad 6/6 0.50 0 0 0 1/2",
    ):
        assert row in " ".join(text.split())
    assert re.search(rf"  pretrain \(seed 1\): epoch 3 of 12 +{'━' * 5}\r?\n", text)
    assert "study trials best score running failed stopped reported" in " ".join(text.split())


def lines_of(progress: SweepProgress, width: int, height: int) -> list[str]:
    console = Console(record=True, force_terminal=True, width=width, file=io.StringIO())
    console.print(view(progress, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [2, 5, 10, 24, 100])
@pytest.mark.parametrize("many", [0, 2, 50])
def test_the_view_fits_its_terminal(width: int, height: int, many: int) -> None:
    progress = begun()
    progress.doing = "asking Ray for the cluster's resources"
    for number in range(many):
        name = f"a study with a name that is rather long 名前 {number}"
        progress.studies[name] = StudyProgress(name, wanted=1000, best=12.5, to_report=4)
        progress.beside[str(number)] = Heard(f"unlearn by it (seed 0), trial {number}", "", 0.3)
    lines = lines_of(progress, width, height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    if many == 0 and height >= 24 and width >= 20:
        assert any(line.startswith("neggrad") and "6/6" in line for line in lines)
        assert any(line.startswith("  pretrain (seed 1)") for line in lines)
    if many == 50 and height == 24 and width >= 40:
        assert any(re.search(r"and \d+ more studies", line) for line in lines)
        assert any(re.search(r"and \d+ more steps run", line) for line in lines)


def test_a_narrow_terminal_keeps_the_columns_that_matter() -> None:
    (head,) = (line for line in lines_of(begun(), 40, 24) if line.startswith("study"))
    assert head.split() == ["study", "trials", "best", "score", "running"]


def test_an_error_ends_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen()
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        shown(sweep(), Console(file=stream, force_terminal=True)),
    ):
        raise RuntimeError("in the middle")
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert stream.getvalue().count(hidden) == stream.getvalue().count(shown_again) == 1


def test_streams_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sweep's table goes to the terminal, and not into the file that it is meant for."""
    monkeypatch.setenv("TERM", "xterm")

    class Slow(Console):
        def set_live(self, live: Live) -> bool:
            time.sleep(0.2)
            return super().set_live(live)

    before = sys.stdout, sys.stderr
    console = Slow(file=Screen(), force_terminal=True)
    with shown(sweep(), console), redirect_stdout(sys.stderr):
        time.sleep(0.4)
    assert (sys.stdout, sys.stderr) == before


PROGRAM = """\
import time
from rich.console import Console
from tests.reporting.test_progress import begun
from unlearn_ray.reporting.progress_view import shown

progress = begun()
progress.doing = "starting Ray"
with shown(progress, Console(stderr=True)):
    time.sleep(0.7)
"""


@pytest.mark.parametrize(
    ("environment", "moves", "colours"),
    [
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_a_real_terminal(environment: dict[str, str], moves: bool, colours: bool) -> None:
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stderr=theirs, env={**kept, **environment, "COLUMNS": "40"}
    )
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:  # how a terminal ends
        os.close(ours)
    assert process.wait(30) == 0
    assert b"starting Ray" in seen
    assert (b"\x1b[" in seen) == moves
    assert bool(re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", seen)) == colours
