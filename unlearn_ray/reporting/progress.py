"""`SweepProgress`: a sweep's progress, as its driver knows it, and the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from unlearn_ray.core.words import counted
from unlearn_ray.monitor.time_left import Begun, Span, TimeLeft, Work
from unlearn_ray.studies.history import StudyProgress

# Each study's first failed trials are reported one by one; later ones at these counts.
_FAILURES_TOLD = 5
_FAILURES_COUNTED = frozenset(base * 10**power for power in range(1, 9) for base in (1, 2, 5))


@dataclass
class Expected:
    """Items of one kind that the sweep will run; see `Work`.

    Attributes:
        asks: "training" or "trial": whose resources each takes.
        left: how many have not ended.
        warm: whether warm workers run it, so that it starts at once.
        here, elsewhere: how many ended, in this driver and in others.
    """

    kind: str
    asks: str
    left: int
    after: frozenset[str] = frozenset()
    most: int | None = None
    parts: tuple[str, ...] = ()
    starting: str = ""
    warm: bool = False
    here: int = 0
    elsewhere: int = 0


@dataclass
class Item:
    """An item that was submitted to the cluster and has not ended.

    Attributes:
        name: in words.
        work: the name of the work it belongs to.
        asked, begun: when, by the progress's clock; it has not begun while it waits for a worker.
        doing: the part that runs.
        share: the share that is done.
        room: whether there is room for it, so that its worker is starting.
        waited: whether it ever had to wait for room.
        elsewhere: whether another driver runs it.
        times: how often it was begun; 0 once its worker reported that it leaves.
    """

    name: str
    work: str
    asked: float
    begun: float | None = None
    doing: str = ""
    share: float | None = None
    room: bool = True
    waited: bool = False
    elsewhere: bool = False
    times: int = 0


@dataclass(frozen=True)
class Heard:
    """A worker's report on a step.

    Attributes:
        name: of the step, in words.
        doing: the part that runs.
        share: the share that is done.
        times: how often it was begun.
    """

    name: str
    doing: str = ""
    share: float | None = None
    times: int = 1


@dataclass
class SweepProgress:
    """Everything a view shows; written by the driver, read by the view.

    Attributes:
        name: of the sweep.
        doing: what the driver itself does, if that is all there is to show.
        steps: how many reference steps to run.
        steps_done: how many of these are done.
        stored: how many reference steps were in the store from the start.
        works: what to run, by name, in topological order.
        items: what was submitted and has not ended, by key.
        beside: what workers run that is not an item of its own: the steps of trials.
        places: how many trainings, and how many trials, the cluster has room for.
        waits_for: the resource that waiting items need, by their `asks`: `a GPU`.
        hours: accelerator hours spent so far; shown if there is a budget.
        budget: accelerator hours that it may spend; None is unlimited.
        hours_each_second: accelerator hours per second of a trial.
        halted: whether the budget is spent, so that no further trial is launched.
        clock: returns seconds.
    """

    name: str
    doing: str = ""
    steps: int = 0
    steps_done: int = 0
    stored: int = 0
    studies: dict[str, StudyProgress] = field(default_factory=dict)
    works: dict[str, Expected] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    beside: dict[str, Heard] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    waits_for: dict[str, str] = field(default_factory=dict)
    hours: float = 0.0
    budget: float | None = None
    hours_each_second: float = 0.0
    halted: bool = False
    clock: Callable[[], float] = time.monotonic
    notes: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._left = TimeLeft(self.clock)
        self._item_of: dict[str, str] = {}
        self._failures: dict[str, int] = {}

    def note(self, text: str) -> None:
        """Add a message to show once."""
        with self.lock:
            self.notes.append(text)

    def failed(self, study: str, what: str, failure: str | None) -> None:
        """Report a failed trial, unless many have failed already."""
        with self.lock:
            number = self._failures[study] = self._failures.get(study, 0) + 1
        if number <= _FAILURES_TOLD:
            self.note(f"failed: {what}: {failure}")
        elif number in _FAILURES_COUNTED:
            trials = counted(number, "trial")
            self.note(f"failed: {trials} of {study} so far; the last: {what}: {failure}")

    # Durations

    def took(self, kind: str, seconds: Iterable[float]) -> None:
        """Add durations of earlier runs."""
        with self.lock:
            for each in seconds:
                self._left.durations.took(kind, each, earlier=True)

    def ask(self, key: str, work: str, name: str, steps: Iterable[str] = ()) -> None:
        """Add an item that was submitted; `steps` are the keys that workers report it under."""
        with self.lock:
            known = self.items.get(key)
            if known is not None:
                known.elsewhere = False
                return
            self.items[key] = Item(name, work, self.clock())
            self._item_of |= dict.fromkeys(steps, key)

    def put_off(self, key: str) -> None:
        """Mark an item as run by another driver."""
        with self.lock:
            if key in self.items:
                self.items[key].elsewhere = True

    def hear(self, heard: Mapping[str, Heard]) -> None:
        """Take workers' reports, by the key of a step; steps no longer reported are over."""
        with self.lock:
            self.beside = {key: one for key, one in heard.items() if key not in self._item_of}
            for step, key in self._item_of.items():
                if key in self.items and step not in heard and self._trains(self.items[key]):
                    self.items[key].times = 0
            for step, one in heard.items():
                item = self.items.get(self._item_of.get(step, ""))
                if item is not None:
                    self._hear_of(item, one)
            self._give_room()

    def _hear_of(self, item: Item, one: Heard) -> None:
        again = item.begun is not None
        if item.begun is None:
            item.begun = self.clock()
            expected = self.works.get(item.work)
            if expected is not None and not item.waited:
                self._left.durations.started(expected.starting, item.begun - item.asked)
        if self._trains(item) and one.times != item.times:
            self.notes.append(f"begun{' again' if again else ''}: {item.name}")
        item.doing, item.share, item.elsewhere = one.doing, one.share, False
        item.times = one.times

    def _trains(self, item: Item) -> bool:
        expected = self.works.get(item.work)
        return expected is not None and expected.asks == "training"

    def end(self, key: str, seconds: Sequence[tuple[str, float]] | None = None) -> None:
        """An item has ended.

        Args:
            key: of the item.
            seconds: the durations of its parts, with their kinds, without worker start-up; None if
                it was not run here, or they are unknown.
        """
        with self.lock:
            item = self.items.pop(key, None)
            if item is None:
                return
            self._item_of = {step: of for step, of in self._item_of.items() if of != key}
            expected = self.works.get(item.work)
            if expected is None:
                return
            expected.left -= 1
            if seconds is None:
                expected.elsewhere += 1
                return
            expected.here += 1
            for kind, each in seconds:
                self._left.durations.took(kind, each)
                if expected.warm and kind == expected.kind:
                    # Warm workers have no start-up time.
                    beside = self.clock() - item.asked - each
                    self._left.durations.started(expected.starting, beside)

    def ended_elsewhere(self, work: str) -> None:
        """Another driver has run an item that was not submitted here."""
        with self.lock:
            if work in self.works:
                self.works[work].left -= 1
                self.works[work].elsewhere += 1

    def drop(self, key: str) -> None:
        """Remove an item that ended and will be run again."""
        with self.lock:
            self.items.pop(key, None)

    def left(self) -> Span | None:
        """The time left; None while it is unknown."""
        with self.lock:
            amount = self.steps + sum(
                (one.ended if self.halted else one.wanted) + one.to_report
                for one in self.studies.values()
            )
            return self._left.of(self._work(), amount)

    def _give_room(self) -> None:
        """Distinguish items that wait for room from those whose worker is starting."""
        used = 0.0
        for begun in (True, False):
            for item in self.items.values():
                expected = self.works.get(item.work)
                if expected is None or item.elsewhere:
                    continue
                if (expected.warm or item.begun is not None) is not begun:
                    continue
                share = 1 / max(1, self.places.get(expected.asks, 1))
                item.room = begun or used + share <= 1 + 1e-6
                item.waited |= not item.room
                used += share if item.room else 0.0

    def _work(self) -> list[Work]:
        now = self.clock()
        begun: dict[str, list[Begun]] = {}
        for item in self.items.values():
            expected = self.works.get(item.work)
            if expected is None:
                continue
            since = item.asked if expected.warm or item.elsewhere else item.begun
            if since is not None:
                share = item.share if expected.asks == "training" else None
                one = Begun(now - since, share, item.elsewhere)
                begun.setdefault(item.work, []).append(one)
        works = []
        for name, work in self.works.items():
            run = tuple(begun.get(name, ()))
            waiting = max(0, work.left - len(run))
            if work.warm and self.halted:
                waiting = 0
            helped = (work.here + work.elsewhere) / work.here if work.here else 1.0
            works.append(
                Work(
                    name=name, kind=work.kind, waiting=waiting, begun=run, after=work.after,
                    places=max(1, self.places.get(work.asks, 1)), most=work.most,
                    parts=work.parts, starting=work.starting, helped=helped,
                )
            )  # fmt: skip
        return self._affordable(works)

    def _affordable(self, works: list[Work]) -> list[Work]:
        """The remaining work without trials beyond the budget."""
        searched = [work for work in works if self.works[work.name].warm and work.left]
        durations = self._left.durations
        if self.budget is None or not all(map(durations.knows, searched)):
            return works
        wanted = sum(durations.usual(work).seconds * work.waiting for work in searched)
        affordable = max(0.0, self.budget - self.hours) / max(self.hours_each_second, 1e-12)
        share = min(1.0, affordable / wanted) if wanted else 1.0
        return [
            replace(work, waiting=round(share * work.waiting)) if work in searched else work
            for work in works
        ]
