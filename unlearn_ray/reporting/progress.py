"""How far a sweep is, for people: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 15.0


@dataclass
class StudyProgress:
    """One study's trials.

    Attributes:
        wanted: trials that the study is to have.
        complete, stopped, failed: trials that ended, by how.
        running: trials that run now.
        best: smallest mean gap of a complete trial, in percentage points.
        reported: reporting seeds done, of how many.
    """

    wanted: int
    complete: int = 0
    stopped: int = 0
    failed: int = 0
    running: int = 0
    best: float | None = None
    reported: int = 0
    to_report: int = 0

    @property
    def ended(self) -> int:
        """Trials that need not be run any more."""
        return self.complete + self.stopped + self.failed


@dataclass
class SweepProgress:
    """Everything a view shows; written by the driver, read by the view.

    Attributes:
        steps: reference steps that are to be run.
        steps_done: of these, how many are done.
        stored: reference steps that were in the store from the start.
        running: name of each running step, with its fraction done.
        hours: accelerator hours that the sweep has spent; of interest where there is a budget.
        budget: accelerator hours that it may spend; None is no limit.
        halted: whether the budget is spent, so that no further trial is launched.
    """

    name: str
    steps: int = 0
    steps_done: int = 0
    stored: int = 0
    running: dict[str, float] = field(default_factory=dict)
    studies: dict[str, StudyProgress] = field(default_factory=dict)
    hours: float = 0.0
    budget: float | None = None
    halted: bool = False
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, text: str) -> None:
        """Something to be said once."""
        with self.lock:
            self.notes.append(text)

    def work(self) -> tuple[float, float]:
        """Units of work done and in all: a reference step, a trial, a reporting seed is one."""
        done = self.steps_done + sum(self.running.values())
        total = float(self.steps)
        for study in self.studies.values():
            done += study.ended + study.reported
            total += (study.ended if self.halted else study.wanted) + study.to_report
        return done, total

    def seconds_left(self, done_at_start: float) -> float | None:
        """An estimate from the rate so far; None until there is one."""
        done, total = self.work()
        if done - done_at_start < 1:
            return None
        return (time.monotonic() - self.started) * (total - done) / (done - done_at_start)


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 10 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def shown(progress: SweepProgress, console: Console) -> Iterator[None]:
    """Show `progress` until the block ends."""
    stop = threading.Event()
    at_start = progress.work()[0]
    view = _live if console.is_terminal else _plain
    thread = threading.Thread(target=view, args=(progress, console, stop, at_start), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _live(
    progress: SweepProgress, console: Console, stop: threading.Event, at_start: float
) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stop.wait(REFRESH_SECONDS):
            _print_notes(progress, console)
            live.update(_view(progress, at_start))
    _print_notes(progress, console)


def _plain(
    progress: SweepProgress, console: Console, stop: threading.Event, at_start: float
) -> None:
    said, said_at = "", time.monotonic()
    while not stop.wait(REFRESH_SECONDS):
        _print_notes(progress, console)
        line = _line(progress, at_start)
        if time.monotonic() - said_at >= PLAIN_SECONDS and line != said:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            said, said_at = line, time.monotonic()
    _print_notes(progress, console)


def _print_notes(progress: SweepProgress, console: Console) -> None:
    with progress.lock:
        notes, progress.notes = progress.notes, []
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _summary(progress: SweepProgress, at_start: float) -> str:
    left = progress.seconds_left(at_start)
    elapsed = duration(time.monotonic() - progress.started)
    budget = progress.budget
    return (
        f"reference steps {progress.steps_done}/{progress.steps}"
        f" ({progress.stored} more were in the store), {elapsed} so far"
        + (f", about {duration(left)} left" if left is not None else "")
        + (f", {progress.hours:.2f} of {budget:g} accelerator hours" if budget else "")
    )


def _line(progress: SweepProgress, at_start: float) -> str:
    trials = ", ".join(
        f"{name} {study.ended}/{study.wanted}"
        + (f" ({study.failed} failed)" if study.failed else "")
        + (f" best {study.best:.2f}" if study.best is not None else "")
        for name, study in progress.studies.items()
    )
    running = ", ".join(f"{name} {100 * part:.0f}%" for name, part in progress.running.items())
    return f"{_summary(progress, at_start)}; trials: {trials}" + (
        f"; running: {running}" if running else ""
    )


def _view(progress: SweepProgress, at_start: float) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("study", "trials", "running", "stopped", "failed", "best gap", "reporting"):
        table.add_column(header, justify="left" if header == "study" else "right")
    for name, study in progress.studies.items():
        table.add_row(
            name,
            f"{study.ended}/{study.wanted}",
            str(study.running),
            str(study.stopped),
            str(study.failed),
            "-" if study.best is None else f"{study.best:.2f}",
            f"{study.reported}/{study.to_report}",
        )
    steps = [
        Text(f"  {name}  {'━' * round(20 * part):<20} {100 * part:3.0f}%")
        for name, part in progress.running.items()
    ]
    return Group(Text(f"{progress.name}: {_summary(progress, at_start)}"), *steps, table)
