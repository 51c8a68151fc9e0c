"""`TimeLeft`: the time left for a sweep, as a range that only counts down.

The remaining work is simulated: items of each kind, with the durations of their kind so far, on
the available slots. There is no estimate until every remaining kind has a sample.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as count_from
from statistics import fmean, median, pstdev

# Durations of earlier runs count until this run has so many samples of its own.
_ENOUGH = 3
_KEPT = 64
# Relative to the mean: the spread of a kind without samples, and with one sample.
_BASE_SPREAD = 0.1
_UNKNOWN_SPREAD = 0.3
# The number of simulations; one in twenty lies beyond each end of the range.
_PLAYS = 20
_TRIES = 20
# Items of one kind are simulated one by one up to this many, and up to this many per slot.
_FINEST, _ROUNDS = 100, 8
# An item that runs for longer than its kind usually does ends after this share of its duration.
_OVERDUE = 0.2
# How far the end of the range follows a new estimate.
_FOLLOWED = 0.3
# Progress predicts the remaining time once this share is done.
_TELLING_SHARE = 0.05


@dataclass(frozen=True)
class Begun:
    """A running item.

    Attributes:
        seconds: since it began.
        share: the share that is done, if known.
        elsewhere: whether it occupies another driver's slot.
    """

    seconds: float
    share: float | None = None
    elsewhere: bool = False


@dataclass(frozen=True)
class Work:
    """The remaining work of one kind.

    Attributes:
        name: unique; `after` refers to it.
        kind: items of one kind take about as long.
        waiting: how many have not begun.
        begun: those that run.
        places: how many slots there are for it if nothing else runs.
        after: names of works that must have ended.
        most: at a time, whatever room there is.
        parts: kinds whose durations add up to this one's, while it has no sample of its own.
        starting: the kind of start-up that each needs; none in a warm worker.
        helped: how many drivers share it.
    """

    name: str
    kind: str
    waiting: int
    begun: tuple[Begun, ...] = ()
    places: int = 1
    after: frozenset[str] = frozenset()
    most: int | None = None
    parts: tuple[str, ...] = ()
    starting: str = ""
    helped: float = 1.0

    @property
    def left(self) -> int:
        """How many have not ended."""
        return self.waiting + len(self.begun)


@dataclass(frozen=True)
class Span:
    """A range of seconds."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the range."""
        return (self.low + self.high) / 2

    def after(self, seconds: float) -> Span:
        """The range, that many seconds later."""
        return Span(max(0.0, self.low - seconds), max(0.0, self.high - seconds))


@dataclass
class _Samples:
    """Durations of one kind, in seconds: in this run, and before."""

    own: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    earlier: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))

    @property
    def used(self) -> Sequence[float]:
        return self.own if len(self.own) >= _ENOUGH else [*self.own, *self.earlier]


@dataclass(frozen=True)
class Usual:
    """The duration of a kind: its mean, and the relative errors of the mean and of one item."""

    seconds: float
    error: float = 0.0
    spread: float = 0.0


class Durations:
    """Durations by kind."""

    def __init__(self) -> None:
        self._samples: defaultdict[str, _Samples] = defaultdict(_Samples)
        self._starts: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def took(self, kind: str, seconds: float, *, earlier: bool = False) -> None:
        """Add the duration of an item; `earlier`: of an earlier run."""
        samples = self._samples[kind]
        (samples.earlier if earlier else samples.own).append(seconds)

    def started(self, starting: str, seconds: float) -> None:
        """Add the start-up time of an item, in addition to its own duration."""
        self._starts[starting].append(max(0.0, seconds))

    def knows(self, work: Work) -> bool:
        """Whether there is a sample for the remaining work."""
        own = bool(self._samples[work.kind].used) or any(map(_tells, work.begun))
        parts = bool(work.parts) and all(self._samples[part].used for part in work.parts)
        return own or parts

    def usual(self, work: Work) -> Usual:
        """The duration of an item of a known kind, start-up included."""
        if not self._samples[work.kind].used and work.parts and not any(map(_tells, work.begun)):
            parts = [self._of(part, ()) for part in work.parts]
            whole = sum(part.seconds for part in parts)
            error = max(part.error for part in parts)
            usual = Usual(whole, error, max(part.spread for part in parts))
        else:
            usual = self._of(work.kind, work.begun)
        start = median(self._starts[work.starting]) if self._starts[work.starting] else 0.0
        return Usual(usual.seconds + start, usual.error, usual.spread)

    def _of(self, kind: str, begun: Iterable[Begun]) -> Usual:
        values = list(self._samples[kind].used)
        values += [one.seconds / one.share for one in begun if _tells(one) and one.share]
        mean = fmean(values)
        # Short items end first: running ones count at least as long as they have run.
        long = [one.seconds for one in begun if not _tells(one) and one.seconds > mean]
        if long:
            values += long
            mean = fmean(values)
        known = len(values)
        spread = pstdev(values) / mean if mean > 0 else 0.0
        # A few samples hardly determine the spread.
        spread = math.sqrt((known * spread**2 + 2 * _UNKNOWN_SPREAD**2) / (known + 2))
        return Usual(mean, spread / math.sqrt(known), spread)


def _tells(one: Begun) -> bool:
    return one.share is not None and one.share >= _TELLING_SHARE


class TimeLeft:
    """The displayed estimate.

    Between events it counts down with the clock. At an event it is recomputed, and may become
    narrower and shorter; it becomes longer only if there is more work than before, or if the old
    range has proved too short.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.durations = Durations()
        self._clock = clock
        self._shown: Span | None = None
        self._at = 0.0
        self._seen: object = None
        self._amount = 0

    def of(self, works: Sequence[Work], amount: int) -> Span | None:
        """The range of seconds now; None while a remaining kind has no sample.

        Args:
            works: in topological order.
            amount: of all work, done or not, which shows whether work was added.
        """
        now = self._clock()
        seen = [
            (work.name, work.waiting, [round(10 * (one.share or 0)) for one in work.begun])
            for work in works
        ]
        shown = None if self._shown is None else self._shown.after(now - self._at)
        if (seen, amount) != (self._seen, self._amount) or shown is None:
            anew = estimate(works, self.durations)
            shown = anew if amount != self._amount else _settled(shown, anew)
            self._seen, self._amount, self._shown, self._at = seen, amount, shown, now
        if shown is not None and shown.high <= 0:
            return None
        return shown


def _settled(shown: Span | None, anew: Span | None) -> Span | None:
    """The range shown after an event that adds no work."""
    if shown is None or anew is None or anew.middle > shown.high:
        return anew
    # Part of the way: an estimate that is low by chance must not persist.
    high = shown.high - _FOLLOWED * max(0.0, shown.high - anew.high)
    # The middle of the range does not rise either.
    low = min(anew.low, shown.low + shown.high - high, high)
    return Span(low, high)


def estimate(works: Sequence[Work], durations: Durations) -> Span | None:
    """How long all the work takes; None while a kind has no sample.

    Simulated several times, with durations drawn from their estimated spread.
    """
    left = [work for work in works if work.left]
    if not all(durations.knows(work) for work in left):
        return None
    usual = {work.name: durations.usual(work) for work in left}
    drawn = random.Random(0)  # noqa: S311  no secret
    spans = sorted(_played(left, usual, drawn) for _ in range(_PLAYS)) or [0.0]
    outer = _PLAYS // 20
    return Span(spans[outer] / (1 + _BASE_SPREAD), spans[-1 - outer] * (1 + _BASE_SPREAD))


def _played(works: Sequence[Work], usual: Mapping[str, Usual], drawn: random.Random) -> float:
    """One simulated course of the remaining work."""
    means = {
        name: one.seconds * drawn.lognormvariate(0.0, one.error) for name, one in usual.items()
    }

    def seconds(work: Work, begun: Begun | None, several: int) -> float:
        mean, spread = means[work.name], usual[work.name].spread
        if begun is not None and _tells(begun) and begun.share:
            rest = begun.seconds * (1 - begun.share) / begun.share
            return rest * drawn.lognormvariate(0.0, _BASE_SPREAD)
        if begun is None:
            narrow = spread / math.sqrt(several)
            return several * mean * drawn.lognormvariate(-(narrow**2) / 2, narrow)
        for _ in range(_TRIES):
            whole = mean * drawn.lognormvariate(-(spread**2) / 2, spread)
            if whole > begun.seconds:
                return whole - begun.seconds
        return _OVERDUE * mean

    return makespan(works, seconds)


def makespan(works: Sequence[Work], seconds: Callable[[Work, Begun | None, int], float]) -> float:
    """Simulate the remaining work.

    Args:
        works: in topological order.
        seconds: the duration from now of one item, or of several that are simulated as one.
    """
    waiting, several = {}, {}
    for work in works:
        count = math.ceil(work.waiting / work.helped)
        several[work.name] = max(1, count // (_FINEST + _ROUNDS * work.places))
        waiting[work.name] = math.ceil(count / several[work.name])
    running = {work.name: len(work.begun) for work in works}
    ends: list[tuple[float, int, Work, float]] = []
    used, now = 0.0, 0.0

    def start(work: Work, taken: float, begun: Begun | None, number: int) -> None:
        end = now + seconds(work, begun, several[work.name])
        heapq.heappush(ends, (end, number, work, taken))

    order = count_from(0)
    for work in works:
        for one in work.begun:
            taken = 0.0 if one.elsewhere else 1 / work.places
            start(work, taken, one, next(order))
            used += taken
    while True:
        for work in works:
            room = _room(work, used, running[work.name]) if waiting[work.name] else 0
            if room and all(not waiting[n] and not running[n] for n in work.after & waiting.keys()):
                for _ in range(min(room, waiting[work.name])):
                    start(work, 1 / work.places, None, next(order))
                    waiting[work.name] -= 1
                    running[work.name] += 1
                    used += 1 / work.places
        if not ends:
            return now
        now, _, work, taken = heapq.heappop(ends)
        running[work.name] -= 1
        used = max(0.0, used - taken)


def _room(work: Work, used: float, running: int) -> int:
    """How many more items of a work may start; one larger than all slots runs alone."""
    room = max(math.floor((1 - used) * work.places + 1e-6), 1 if used < 1e-6 else 0)
    return room if work.most is None else min(room, max(0, work.most - running))
