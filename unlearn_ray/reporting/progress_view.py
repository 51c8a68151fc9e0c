"""A sweep's progress: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from unlearn_ray.core.printable import printable
from unlearn_ray.core.words import counted
from unlearn_ray.reporting.expected import trials_of
from unlearn_ray.reporting.progress import Item, SweepProgress
from unlearn_ray.reporting.words import duration, time_left

REFRESH_SECONDS = 0.5
# Without a terminal and without events, a line is printed once a minute at first, down to once an
# hour: about 30 lines in eight hours, and 200 in a week.
FIRST_GAP_SECONDS = 60.0
LAST_GAP_SECONDS = 3600.0
_GROWTH = 6.0

_BAR = 20
_MOST_NAMED = 3


@contextmanager
def shown(progress: SweepProgress, console: Console) -> Iterator[None]:
    """Show `progress` until the block ends."""
    stop = threading.Event()
    live = Live(console=console, auto_refresh=False, transient=True) if _moves(console) else None
    # Entered here, not in the thread: Rich replaces the standard streams, and must do so before
    # anything else changes them.
    with live or nullcontext():
        look = _plain if live is None else partial(_live, live)
        thread = threading.Thread(target=look, args=(progress, console, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
    _print_notes(progress, console)


def _moves(console: Console) -> bool:
    """Whether lines can be overwritten; FORCE_COLOR does not turn a file into a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


def _live(live: Live, progress: SweepProgress, console: Console, stop: threading.Event) -> None:
    live.update(view(progress, *console.size), refresh=True)
    while not stop.wait(REFRESH_SECONDS):
        _print_notes(progress, console)
        live.update(view(progress, *console.size), refresh=True)


def _plain(progress: SweepProgress, console: Console, stop: threading.Event) -> None:
    doing = ""
    next_at = FIRST_GAP_SECONDS
    while True:
        ended = stop.wait(REFRESH_SECONDS) if doing else False
        if progress.doing and progress.doing != doing:
            doing = progress.doing
            _print(f"{progress.name}: {doing}", console)
        doing = doing or progress.name
        _print_notes(progress, console)
        if ended:
            return
        elapsed = progress.clock() - progress.started
        if elapsed >= next_at:
            _print(line(progress), console)
            next_at = elapsed + gap(elapsed)


def gap(elapsed: float) -> float:
    """Seconds until the next line, of a run that has gone on for so many."""
    return min(max(FIRST_GAP_SECONDS, elapsed / _GROWTH), LAST_GAP_SECONDS)


def _print_notes(progress: SweepProgress, console: Console) -> None:
    with progress.lock:
        notes, progress.notes = progress.notes, []
    for note in notes:
        _print(note, console)


def _print(text: str, console: Console) -> None:
    console.print(Text(printable(text)), soft_wrap=True)


def line(progress: SweepProgress) -> str:
    """The progress in one line."""
    with progress.lock:
        parts = [_head(progress), *_counts(progress), *_trials(progress)]
        parts += _running_words(progress)
    return "; ".join(parts)


def _head(progress: SweepProgress) -> str:
    elapsed = duration(progress.clock() - progress.started)
    span = progress.left()
    left = f", {time_left(span)}" if span is not None else ""
    return f"{progress.name}: {elapsed} so far{left}"


def _counts(progress: SweepProgress) -> list[str]:
    found = []
    if progress.steps:
        found.append(f"reference steps {progress.steps_done}/{progress.steps}")
    if progress.stored:
        found.append(f"{progress.stored} more were in the store")
    if progress.budget:
        found.append(f"{progress.hours:.2f} of {progress.budget:g} accelerator hours")
    return [", ".join(found)] if found else []


def _trials(progress: SweepProgress) -> list[str]:
    trials = ", ".join(
        f"{name} {study.ended}/{study.wanted}"
        + (f" ({study.failed} failed)" if study.failed else "")
        + (f" best {study.best:.2f}" if study.best is not None else "")
        for name, study in progress.studies.items()
    )
    return [f"trials: {trials}"] if trials else []


def _running_words(progress: SweepProgress) -> list[str]:
    running = [_saying(name, doing, share) for name, doing, share in _running(progress)]
    parts = [f"running: {_named(running)}"] if running else []
    return [*parts, *_waiting(progress)]


def _running(progress: SweepProgress) -> list[tuple[str, str, float | None]]:
    found = [
        (item.name, item.doing, item.share)
        for item in progress.items.values()
        if item.begun is not None and not item.elsewhere and not _is_trial(item, progress)
    ]
    return found + [(one.name, one.doing, one.share) for one in progress.beside.values()]


def _is_trial(item: Item, progress: SweepProgress) -> bool:
    """Trials are shown by the steps that their workers report."""
    work = progress.works.get(item.work)
    return work is not None and work.warm


def _saying(name: str, doing: str, share: float | None) -> str:
    """`pretrain (seed 0): epoch 3 of 30`, `observe outputs of retrain (seed 0): probe 40 %`."""
    state = doing
    if share is not None and not doing.startswith("epoch"):
        state = f"{doing} {100 * share:.0f} %".strip()
    return f"{name}: {state}" if state else name


def _waiting(progress: SweepProgress) -> list[str]:
    """The items that do not run here yet, and why."""
    reasons: dict[str, list[str]] = {}
    for item in progress.items.values():
        work = progress.works.get(item.work)
        if item.elsewhere:
            reasons.setdefault("run by another driver", []).append(item.name)
        elif work is None or item.begun is not None:
            continue
        elif work.warm:
            if not progress.beside:
                reasons.setdefault("starting a worker", []).append(item.name)
        elif item.room:
            reasons.setdefault("starting a worker", []).append(item.name)
        else:
            what = progress.waits_for.get(work.asks, "a worker")
            reasons.setdefault(f"waiting for {what}", []).append(item.name)
    return [f"{reason}: {_named(names)}" for reason, names in reasons.items()]


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# On a terminal


def view(progress: SweepProgress, width: int, height: int) -> RenderableType:
    """Lines that fit a terminal; the least important ones are dropped first."""
    with progress.lock:
        head = [_head(progress), *_counts(progress)]
        if progress.doing:
            head.append(f"  {progress.doing}")
        waiting = [f"  {text}" for text in _waiting(progress)]
        table = _table(progress, width)
        # One line is left free for the cursor.
        room = max(1, height - 1 - len(head))
        studies = _first(table, max(2, room - min(len(waiting) + 3, room // 2)), "studies", 1)
        room = max(0, room - len(studies))
        running = [_bar(*one, width) for one in _running(progress)]
        running = _first(running, max(0, room - len(waiting)), "steps run")
        lines = [*head, *running, *waiting[: max(0, room - len(running))], *studies]
    lines = lines[: max(1, height - 1)]
    return Group(*(Text(_fitted(printable(text), width), no_wrap=True) for text in lines))


def _first(lines: list[str], most: int, things: str, head: int = 0) -> list[str]:
    if len(lines) <= most:
        return lines
    kept = lines[: max(head, most - 1)]
    return [*kept, f"  and {len(lines) - len(kept)} more {things}"][: max(0, most)]


def _bar(name: str, doing: str, share: float | None, width: int) -> str:
    text = f"  {_saying(name, doing, share)}"
    if share is None or cell_len(text) + _BAR + 2 > width:
        return text
    bar = "━" * round(_BAR * share)
    return f"{set_cell_size(text, width - _BAR - 2)} {bar}"


def _table(progress: SweepProgress, width: int) -> list[str]:
    """Header and a line for each study, with as many columns as fit the width."""
    studies = progress.studies
    if not studies:
        return []
    asked = Counter(item.work for item in progress.items.values())
    columns = [
        ("trials", [f"{one.ended}/{one.wanted}" for one in studies.values()]),
        ("best score", ["-" if s.best is None else f"{s.best:.2f}" for s in studies.values()]),
        ("running", [str(asked[trials_of(name)]) for name in studies]),
        ("failed", [str(one.failed) for one in studies.values()]),
        ("stopped", [str(one.stopped) for one in studies.values()]),
        ("reported", [f"{one.reported}/{one.to_report}" for one in studies.values()]),
    ]
    names = [printable(name) for name in studies]
    wanted = max(cell_len(name) for name in ("study", *names))
    least = min(wanted, 12)
    kept: list[list[str]] = []
    for header, cells in columns:
        size = max(map(len, (header, *cells)))
        used = sum(2 + len(column[0]) for column in kept)
        if least + used + 2 + size > width:
            break
        kept.append([text.rjust(size) for text in (header, *cells)])
    first = min(wanted, max(1, width - sum(2 + len(column[0]) for column in kept)))
    rows = zip(
        *([_fitted(name, first, pad=True) for name in ("study", *names)], *kept), strict=True
    )
    return ["  ".join(row) for row in rows]


def _fitted(text: str, width: int, *, pad: bool = False) -> str:
    """`text` cut to at most `width` columns, with an ellipsis."""
    if cell_len(text) <= width:
        return set_cell_size(text, width) if pad else text
    return set_cell_size(text, max(0, width - 1)) + "…" if width > 0 else ""


def ending(progress: SweepProgress) -> str:
    """The summary of a run, in one line."""
    failed = sum(one.failed for one in progress.studies.values())
    trials = sum(one.ended for one in progress.studies.values())
    return (
        f"{progress.name}: {duration(progress.clock() - progress.started)};"
        f" {counted(progress.steps_done, 'reference step')} run,"
        f" {counted(trials, 'trial')} ended" + (f", {failed} of them failed" if failed else "")
    )
