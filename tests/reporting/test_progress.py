"""Progress: what is counted, how long the rest is said to take, and what people see of it."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from unlearn_ray.reporting import progress as views
from unlearn_ray.reporting.progress import StudyProgress, SweepProgress, duration, shown


def sweep() -> SweepProgress:
    return SweepProgress(
        "tiny",
        steps=4,
        steps_done=1,
        stored=3,
        running={"pretrain (seed 1)": 0.25, "retrain (seed 0)": 0.5},
        studies={
            "finetune": StudyProgress(
                wanted=6, complete=2, stopped=1, failed=1, running=1, best=1.234, to_report=2
            ),
            "neggrad": StudyProgress(wanted=6, complete=6, best=0.5, reported=1, to_report=2),
        },
    )


def test_work_is_steps_trials_and_reports() -> None:
    done, total = sweep().work()
    assert done == 1 + 0.75 + (2 + 1 + 1) + (6 + 1)
    assert total == 4 + (6 + 2) + (6 + 2)


def test_time_left_is_the_rest_at_the_rate_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = SweepProgress("tiny", steps=10, started=100.0)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert progress.seconds_left(0.0) is None
    progress.running = {"pretrain (seed 0)": 0.9}
    now = 109.0
    assert progress.seconds_left(0.0) is None  # one unit, before anything is said of the rest
    progress.running, progress.steps_done = {}, 2
    now = 120.0
    assert progress.seconds_left(0.0) == pytest.approx(80)
    # What was in the store when the sweep began took no time now.
    progress.studies["finetune"] = StudyProgress(wanted=6, complete=4)
    assert progress.seconds_left(4.0) == pytest.approx(20 * 10 / 2)
    progress.steps_done = 10
    progress.studies["finetune"].complete = 6
    assert progress.seconds_left(4.0) == 0


def test_trials_that_a_budget_leaves_out_are_no_work() -> None:
    progress = sweep()
    progress.halted = True
    assert progress.work()[1] == 4 + (4 + 2) + (6 + 2)


def test_a_budget_is_told_with_what_was_spent() -> None:
    progress = sweep()
    assert "accelerator hours" not in views._line(progress, 0.0)
    progress.budget, progress.hours = 20.0, 3.14159
    assert ", 3.14 of 20 accelerator hours; trials: " in views._line(progress, 0.0)


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


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(views, "PLAIN_SECONDS", 0.05)


@pytest.mark.usefixtures("hurried")
def test_plain_lines_say_what_changed_and_notes_once() -> None:
    stream, progress = io.StringIO(), sweep()
    with shown(progress, Console(file=stream, width=60)):
        time.sleep(0.3)
        progress.note("done: pretrain (seed 1) [not markup]")
        time.sleep(0.1)
        progress.note("failed: finetune trial 3: loss is NaN")
    lines = stream.getvalue().splitlines()
    assert lines.count("done: pretrain (seed 1) [not markup]") == 1
    assert lines[-1] == "failed: finetune trial 3: loss is NaN"  # even at the very end
    (line, *_) = (line for line in lines if line.startswith("reference steps"))
    assert line.startswith("reference steps 1/4 (3 more were in the store), 0 s so far")
    assert "; trials: finetune 4/6 (1 failed) best 1.23, neggrad 6/6 best 0.50" in line
    assert line.endswith("; running: pretrain (seed 1) 25%, retrain (seed 0) 50%")
    # Without a terminal nothing moves: no control characters, and no line of the same again.
    assert "\x1b" not in stream.getvalue()
    said = [line for line in lines if line.startswith("reference steps")]
    assert len(said) == len(set(said)) <= 2


@pytest.mark.usefixtures("hurried")
def test_a_terminal_is_shown_every_study_and_step() -> None:
    stream, progress = io.StringIO(), sweep()
    terminal = Console(file=stream, force_terminal=True, width=100, height=30, color_system=None)
    with shown(progress, terminal):
        progress.note("done: retrain (seed 1)")
        time.sleep(0.8)
        progress.studies["finetune"].complete += 1
        time.sleep(0.8)
    text = stream.getvalue()
    assert text.count("done: retrain (seed 1)") == 1
    assert "tiny: reference steps 1/4 (3 more were in the store)" in text
    for row in (
        "finetune 4/6 1 1 1 1.23 0/2",
        "finetune 5/6 1 1 1 1.23 0/2",
        "neggrad 6/6 0 0 0 0.50 1/2",
    ):
        assert row in " ".join(text.split())
    assert f"pretrain (seed 1)  {'━' * 5}{' ' * 15}  25%" in text
    assert "study trials running stopped failed best gap reporting" in " ".join(text.split())


def test_the_view_fits_a_narrow_terminal() -> None:
    console = Console(record=True, force_terminal=True, width=60, file=io.StringIO())
    console.print(views._view(sweep(), 0.0))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 60
    assert "neggrad" in text


def test_an_error_ends_the_view() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        shown(sweep(), Console(file=stream, force_terminal=True)),
    ):
        raise RuntimeError("in the middle")
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert stream.getvalue().count(hidden) == stream.getvalue().count(shown_again)
