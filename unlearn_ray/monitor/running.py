"""What runs on a store now: held leases, and whether their holders are alive."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from unlearn_ray.storage.store import DRIVER, Holder, Store

Heartbeat = Literal["alive", "silent", "dead"]


@dataclass(frozen=True)
class Running:
    """A step whose lease is held.

    Attributes:
        step: in words.
        host, process: its holder.
        held_seconds: for how long at least, according to its heartbeats.
        seen_seconds: since its last heartbeat, by the clocks of both machines, or as observed.
        heartbeat: `dead` is a process of this machine that has ended.
    """

    step: str
    host: str
    process: int
    held_seconds: float
    seen_seconds: float
    heartbeat: Heartbeat


class Observer:
    """Judges heartbeats: by clocks at first, then by its own observations."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int, float]] = {}

    def running(self, key: str, holder: Holder) -> Running:
        """The state of a held lease."""
        seconds = self._silence(key, holder)
        heartbeat: Heartbeat = "alive" if seconds <= holder.lease_seconds else "silent"
        return Running(
            step=holder.work.name,
            host=holder.process.host,
            process=holder.process.pid,
            held_seconds=holder.seconds,
            seen_seconds=seconds,
            heartbeat="dead" if holder.process.is_dead() else heartbeat,
        )

    def _silence(self, key: str, holder: Holder) -> float:
        now = time.monotonic()
        token, counter, since = self._seen.get(key, ("", -1, now))
        if token == holder.token and counter == holder.counter:
            return now - since
        if token == holder.token:
            self._seen[key] = (holder.token, holder.counter, now)
            return 0.0
        by_clocks = max(
            0.0, (datetime.now(UTC) - datetime.fromisoformat(holder.seen)).total_seconds()
        )
        self._seen[key] = (holder.token, holder.counter, now - by_clocks)
        return by_clocks


@dataclass(frozen=True)
class Activity:
    """What runs on a store, by sweep.

    Attributes:
        steps: those with a held lease and no record yet.
        drivers: those that have not ended.
    """

    steps: dict[str, list[Running]]
    drivers: dict[str, list[Running]]


def activity(store: Store, observer: Observer) -> Activity:
    """What runs on a store now, without leases that outlived their steps.

    The store's own lease, held while rows are merged, is left out, too.
    """
    held = ((key, one) for key, one in store.holders().items() if not one.released)
    holders = {key: one for key, one in held if one.work.sweep}
    complete = store.read_records((one.work.kind, key) for key, one in holders.items())
    steps: defaultdict[str, list[Running]] = defaultdict(list)
    drivers: defaultdict[str, list[Running]] = defaultdict(list)
    for key, holder in holders.items():
        if key not in complete:
            kind = drivers if holder.work.kind == DRIVER else steps
            kind[holder.work.sweep].append(observer.running(key, holder))
    return Activity(steps, drivers)
