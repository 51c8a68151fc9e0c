"""Runs of sweeps, replayed against a clock: what drivers told, and what was shown meanwhile.

A recording is JSON: `works` as in `SweepProgress`, and `events`, each a time in seconds, the
name of a method of `SweepProgress` and its arguments. `python -m tests.reporting.replay OUT FILE
[OPTIONS]` runs a sweep and records it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unlearn_ray.monitor.time_left import Span
from unlearn_ray.reporting.progress import Expected, Heard, SweepProgress
from unlearn_ray.studies.history import StudyProgress

METHODS = ("took", "ask", "put_off", "hear", "end", "ended_elsewhere", "drop")


@dataclass
class Clock:
    """Seconds, as somebody sets them."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Moment:
    """What was shown at a time, and what was so.

    Attributes:
        at: seconds.
        shown: time left; None while nothing is said.
        left: what it was.
        told: whether something was told since the moment before.
        old: what the former estimate would have said: units of work at the rate so far.
    """

    at: float
    shown: Span | None
    left: float
    told: bool
    old: float | None


@dataclass
class Run:
    """What a driver told of a sweep, in the order of time."""

    works: dict[str, Expected]
    places: dict[str, int]
    events: list[tuple[float, str, list[Any]]] = field(default_factory=list)
    over: float = 0.0

    @classmethod
    def read(cls, file: Path) -> Run:
        """A recording."""
        told = json.loads(file.read_text())
        works = {
            name: Expected(
                **{**one, "after": frozenset(one["after"]), "parts": tuple(one["parts"])}
            )
            for name, one in told["works"].items()
        }
        return cls(works, {}, [tuple(event) for event in told["events"]], told["over"])

    def tell(self, at: float, method: str, *arguments: Any) -> None:
        """Add an event."""
        self.events.append((at, method, list(arguments)))

    def moments(self, step: float = 1.0) -> Iterator[Moment]:
        """What is shown every so many seconds."""
        clock = Clock()
        progress = SweepProgress("replayed", clock=clock, places=dict(self.places))
        progress.works = {name: Expected(**vars(one)) for name, one in self.works.items()}
        trials = {name: one.left for name, one in self.works.items() if one.warm}
        progress.studies = {name: StudyProgress(name, left) for name, left in trials.items()}
        progress.steps = sum(one.left for name, one in self.works.items() if name not in trials)
        events, told, total = iter([*self.events, (self.over, "", [])]), False, 0.0
        total = sum(one.left for one in self.works.values())
        for at, method, arguments in events:
            while clock.now + step <= at:
                clock.now += step
                yield Moment(
                    clock.now, progress.left(), self.over - clock.now, told,
                    _old(progress, clock.now, total),
                )  # fmt: skip
                told = False
            before, clock.now = clock.now, at
            if method:
                _apply(progress, method, arguments)
                told = True
            clock.now = before


def _old(progress: SweepProgress, now: float, total: float) -> float | None:
    done = total - sum(one.left for one in progress.works.values())
    done += sum(item.share or 0.0 for item in progress.items.values())
    return None if done < 1 else now * (total - done) / done


def _apply(progress: SweepProgress, method: str, arguments: list[Any]) -> None:
    if method == "places":
        progress.places = dict(arguments[0])
    elif method == "left":
        progress.works[arguments[0]].left = arguments[1]
    elif method == "hear":
        progress.hear({key: Heard(**heard) for key, heard in arguments[0].items()})
    else:
        getattr(progress, method)(*arguments)


def record(out: Path, arguments: list[str]) -> int:
    """Run a sweep and write what its driver told."""
    from unlearn_ray.scheduling import driver
    from unlearn_ray.sweep import main

    events: list[tuple[float, str, Any]] = []
    seen: dict[str, Any] = {}
    works: dict[str, Any] = {}
    started = 0.0

    def now() -> float:
        return round(time.monotonic() - started, 2)

    def hook(method: str) -> None:
        original: Callable[..., None] = getattr(SweepProgress, method)

        def told(self: SweepProgress, *given: Any) -> None:
            if method == "hear":
                if self.places != seen.get("places"):
                    seen["places"] = dict(self.places)
                    events.append((now(), "places", [seen["places"]]))
                heard = {
                    key: {"name": "", "share": None if one.share is None else round(one.share, 1)}
                    for key, one in given[0].items()
                    if key in self._item_of
                }
                if heard != seen.get("heard"):
                    seen["heard"] = heard
                    events.append((now(), method, [heard]))
            else:
                plain = [
                    list(each) if method == "took" and each is given[-1] else each for each in given
                ]
                events.append((now(), method, plain))
            original(self, *given)

        setattr(SweepProgress, method, told)

    expect = driver.expect  # type: ignore[attr-defined]

    def expecting(progress: SweepProgress, plan: Any) -> None:
        nonlocal started
        expect(progress, plan)
        started = progress.started
        works.update(
            {
                name: {**asdict(one), "after": sorted(one.after)}
                for name, one in progress.works.items()
            }
        )

    driver.expect = expecting  # type: ignore[attr-defined]
    for method in METHODS:
        hook(method)
    status = main(arguments)
    out.write_text(json.dumps({"works": works, "events": events, "over": now()}))
    return status


if __name__ == "__main__":
    sys.exit(record(Path(sys.argv[1]), sys.argv[2:]))
