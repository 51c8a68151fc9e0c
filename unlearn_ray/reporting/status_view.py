"""The progress of sweeps: tables on a terminal, aligned text elsewhere, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from unlearn_ray.core.printable import printable_lines
from unlearn_ray.monitor.running import Running
from unlearn_ray.monitor.status import SweepStatus
from unlearn_ray.reporting.grid import Grid, aligned, rich_grid
from unlearn_ray.reporting.words import duration, time_left

_MOST_FAILURES = 5
_MOST_RUNNING = 20

_Block = str | Grid


def plain_status(statuses: Sequence[SweepStatus], store: str) -> str:
    """Aligned text, for logs and files."""
    parts = [
        printable_lines(block) if isinstance(block, str) else aligned(block)
        for status in statuses
        for block in _blocks(status, store)
    ]
    return "\n\n".join(parts)


def rich_status(statuses: Sequence[SweepStatus], store: str) -> RenderableType:
    """Tables for a terminal."""
    return Group(
        *(
            Text(f"{printable_lines(block)}\n") if isinstance(block, str) else rich_grid(block)
            for status in statuses
            for block in _blocks(status, store)
        )
    )


def json_status(statuses: Sequence[SweepStatus], store: str) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "store": store,
        "sweeps": [
            {**asdict(one), "finished": one.finished, "halted": one.halted} for one in statuses
        ],
    }


def _blocks(status: SweepStatus, store: str) -> list[_Block]:
    blocks: list[_Block] = [_head(status, store), _studies(status)]
    blocks += _running(status.running)
    blocks += _failures(status)
    blocks.append("\n".join(_rates(status)))
    return blocks


def _head(status: SweepStatus, store: str) -> str:
    done = sum(done for done, _ in status.references.values())
    total = sum(total for _, total in status.references.values())
    each = ", ".join(f"{kind} {done}/{of}" for kind, (done, of) in status.references.items())
    scored, to_score = status.scores
    return "\n".join(
        [
            f"{status.name} on {store}: {state(status)}",
            f"reference steps {done}/{total} ({each})",
            *([f"rows of scores {scored}/{to_score}"] if to_score else []),
        ]
    )


def state(status: SweepStatus) -> str:
    """Whether a sweep is finished, running or stopped, and where, in words."""
    driver = f"process {status.process} on {status.host}"
    if status.finished:
        unlaunched = any(study.ended < study.wanted for study in status.studies)
        return "finished; its budget is spent" if unlaunched else "finished"
    if status.driver_ended:
        return f"stopped; its driver ({driver}, {status.started}) has ended"
    if len(status.drivers) > 1:
        each = ", ".join(f"process {one.process} on {one.host}" for one in status.drivers)
        return f"running, {len(status.drivers)} drivers ({each})"
    if status.running:
        return f"running, {driver} since {status.started}"
    return f"no step runs now; started by {driver} at {status.started}"


def _studies(status: SweepStatus) -> Grid:
    states = ("Complete", "Stopped", "Failed", "Unfinished")
    grid = [["Study", "Trials", *states, "Best score", "Reporting"]]
    for study in status.studies:
        counts = (study.complete, study.stopped, study.failed, study.unfinished)
        grid.append(
            [
                study.name,
                f"{study.ended}/{study.wanted}",
                *map(str, counts),
                "-" if study.best is None else f"{study.best:.2f}",
                f"{study.reported}/{study.to_report}",
            ]
        )
    return grid


def _running(running: Sequence[Running]) -> list[_Block]:
    if not running:
        return []
    grid = [["Running now", "Process", "For", "Heartbeat"]]
    for one in running[:_MOST_RUNNING]:
        grid.append(
            [
                one.step,
                f"{one.process} on {one.host}",
                duration(one.held_seconds),
                _heartbeat(one),
            ]
        )
    return [grid, *_more(len(running) - _MOST_RUNNING)]


def _heartbeat(one: Running) -> str:
    if one.heartbeat == "dead":
        return "none: the process has ended"
    if one.heartbeat == "silent":
        return f"none for {duration(one.seen_seconds)}"
    return f"{duration(one.seen_seconds)} ago"


def _failures(status: SweepStatus) -> list[_Block]:
    if not status.failures:
        return []
    grid = [["Failures", "Study", "Newest", "Reason"]]
    for failure in status.failures[:_MOST_FAILURES]:
        grid.append([f"{failure.count}", failure.name, failure.newest, failure.reason])
    return [grid, *_more(len(status.failures) - _MOST_FAILURES)]


def _more(count: int) -> list[_Block]:
    return [f"and {count} more"] if count > 0 else []


def _rates(status: SweepStatus) -> Iterable[str]:
    lately, overall = status.throughput.last_hour, status.throughput.overall
    if overall is not None:
        last_hour = "none" if lately is None else f"{lately:.0f}"
        yield f"trials x seeds an hour: {last_hour} in the last hour, {overall:.0f} overall"
    if status.seconds_left is not None and not status.finished:
        yield f"time left: {time_left(status.seconds_left).removesuffix(' left')}"
    spent = sum(status.hours.values())
    each = ", ".join(f"{kind} {hours:.2f}" for kind, hours in status.hours.items())
    yield f"accelerator hours: {spent:.2f} ({each})"
    if status.budget_hours is not None:
        left = max(0.0, status.budget_hours - spent)
        yield f"budget: {status.budget_hours:g} accelerator hours, {left:.2f} left"
