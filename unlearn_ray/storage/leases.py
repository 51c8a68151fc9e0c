"""Leases: the right to run a step now, over nothing but create-if-absent.

A lease is one object, `leases/<key>/<generation>.json`. Whoever creates a generation holds the
lease until it is released or a higher generation exists; generations are never deleted, so no
number is ever used twice. The holder rewrites its object with a counter every quarter of
`lease_seconds`. Clocks of machines may differ, so nobody compares times: an observer takes over
when it has itself seen the counter stand still for `lease_seconds` of its own clock, or at once
when the holder was a process of this machine that is dead.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from unlearn_ray.core.errors import CorruptObject, LeaseLost, MissingObject, StoreError
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.processes import ProcessIdentity

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a lease.

    Attributes:
        process: which process, on which machine.
        since: when it took the lease, ISO 8601 in UTC by its own clock.
        token: of this taking, random.
        lease_seconds: how long its counter must stand still before another may take over.
        counter: of its heartbeat.
        released: whether it gave the lease back.
    """

    process: ProcessIdentity
    since: str
    token: str
    lease_seconds: float
    counter: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}, since {self.since}"


@dataclass(frozen=True)
class _Sighting:
    generation: int
    holder: Holder
    at: float


class Leases:
    """Takes leases and watches those of others; one per store and process."""

    def __init__(self, objects: ObjectStore, seconds: float) -> None:
        self._objects = objects
        self._seconds = seconds
        self._seen: dict[str, _Sighting] = {}

    def take(self, key: str) -> Lease | None:
        """The lease of `key`, or None while another holds it; call again to go on watching."""
        generation = self._newest(key)
        if generation:
            holder = self._read(key, generation)
            if not self._may_take_over(key, generation, holder):
                return None
        mine = Holder(
            process=ProcessIdentity.here(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            token=uuid.uuid4().hex,
            lease_seconds=self._seconds,
        )
        started = time.monotonic()
        if not self._objects.create(_name(key, generation + 1), _to_bytes(mine)):
            return None
        self._seen.pop(key, None)
        return Lease(self._objects, key, generation + 1, mine, started)

    def holder(self, key: str) -> Holder | None:
        """Who holds the lease now; None if nobody does."""
        generation = self._newest(key)
        holder = self._read(key, generation) if generation else None
        return holder if holder and not holder.released else None

    def _newest(self, key: str) -> int:
        prefix = f"leases/{key}/"
        names = (name.removeprefix(prefix) for name in self._objects.names(prefix))
        numbers = (name.removesuffix(".json") for name in names)
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _read(self, key: str, generation: int) -> Holder:
        return _from_bytes(key, generation, self._objects.read(_name(key, generation)))

    def _may_take_over(self, key: str, generation: int, holder: Holder) -> bool:
        if holder.released or holder.process.is_dead():
            return True
        now = time.monotonic()
        seen = self._seen.get(key)
        if seen is None or (seen.generation, seen.holder) != (generation, holder):
            self._seen[key] = _Sighting(generation, holder, now)
            return False
        if now - seen.at < max(self._seconds, holder.lease_seconds):
            return False
        _log.warning("lease of %s: no sign of %s, taking over", key, holder)
        return True


class Lease:
    """A lease held by this process, kept alive by a thread until it is released.

    Attributes:
        key: what may be run.
        generation: how often its lease was taken, this time included.
    """

    def __init__(
        self, objects: ObjectStore, key: str, generation: int, holder: Holder, taken_at: float
    ) -> None:
        self.key = key
        self.generation = generation
        self._objects = objects
        self._holder = holder
        self._alive_at = taken_at
        self._trouble: StoreError | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {key}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def check(self) -> None:
        """Make sure that nobody else may run the step now; one request.

        Raises:
            LeaseLost: another process took over, or it may have, since the heartbeat could
                not be written for the lease's time.
        """
        remedy = "this process stops the step; the other one, or the next run, completes it"
        silent = time.monotonic() - self._alive_at
        if silent > self._holder.lease_seconds:
            reason = f"no heartbeat written for {silent:.0f} s ({self._trouble})"
            raise LeaseLost(f"lease of {self.key}", reason, remedy)
        try:
            data = self._objects.read(_name(self.key, self.generation + 1))
        except MissingObject:
            return
        holder = _from_bytes(self.key, self.generation + 1, data)
        raise LeaseLost(f"lease of {self.key}", f"taken over by {holder}", remedy)

    def release(self) -> None:
        """Let the next one take the lease at once; a second release does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        try:
            self._write(replace(self._holder, released=True))
        except StoreError as error:
            # Not worth failing a step that is done: the lease expires by itself.
            _log.warning("lease of %s: not released (%s)", self.key, error)

    def _beat(self) -> None:
        while not self._end.wait(self._holder.lease_seconds / 4):
            started = time.monotonic()
            try:
                self._write(replace(self._holder, counter=self._holder.counter + 1))
            except StoreError as error:
                # The next beat may reach the store; `check` counts the silence.
                self._trouble = error
            else:
                self._alive_at, self._trouble = started, None

    def _write(self, holder: Holder) -> None:
        self._holder = holder
        self._objects.write(_name(self.key, self.generation), _to_bytes(holder))


def _name(key: str, generation: int) -> str:
    return f"leases/{key}/{generation:06d}.json"


def _to_bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _from_bytes(key: str, generation: int, data: bytes) -> Holder:
    try:
        body: dict[str, Any] = json.loads(data)
        return Holder(**{**body, "process": ProcessIdentity(**body["process"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptObject(
            f"object {_name(key, generation)}",
            f"no lease: {type(error).__name__}",
            "when nothing runs on this store, delete that object",
        ) from error
