"""Leases: the right to run a step now, built on create-if-absent alone.

A lease is one object, `leases/<key>.<generation>.json`. The process that creates a generation holds
the lease until it releases it or a higher generation exists. The holder rewrites its object with a
counter, its heartbeat, every quarter of `lease_seconds`. Clocks may differ between machines, so
times are never compared: an observer takes over once it has itself seen the counter unchanged for
`lease_seconds` on its own clock, or at once if the holder was a process of this machine that is
dead. An observer that has not looked for half that time, and for seconds, starts over: the store
may have been unavailable to the holder, too. An object that is damaged, or of another version,
counts as a silent holder: if there is one, its next heartbeat overwrites it.
A stopped or killed holder leaves its object behind, whose counter shows how long it ran.

Once the outcome of a step is final (its record is written, or it can have none), its leases are
meaningless, and the process that finishes it deletes every generation. Leases only avoid duplicate
work: create-if-absent ensures that a step has one record. Hence deletion is harmless where

- a stale holder (it was suspended, and another took over and completed the step) writes one more
  heartbeat: any process that needs the step finds the record and looks at no lease. The holder
  itself deletes the object at its end; if it dies, the next sweep does;
- the stale holder's `check` finds no higher generation: its record is not created, since there is
  one, and it continues with that;
- a new holder begins at generation 1 again: as always after taking a lease, it looks for the
  record once more, and finds it;
- a generation is used twice, which takes a stale holder and a step that has ended without a
  record: both believe that they hold the lease and run the step; one record is created;
- the holder died between the record and the deletion, or during it: whatever generations are left
  are treated as above.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from unlearn_ray.core.errors import CorruptObject, LeaseLost, MissingObject, StoreError
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.stored import (
    MOST_BYTES,
    Count,
    Reader,
    Schema,
    Seconds,
    Time,
    Word,
    stored,
)

_log = logging.getLogger(__name__)
_PREFIX = "leases/"
_NAME = re.compile(r"leases/([A-Za-z0-9_-]+)\.([0-9]{6,9})\.json")
_BEATS_PER_LEASE = 4
_LOOKS_PER_LEASE = 40
# A step that is waited for is polled every half second, and a slow store takes as long to answer.
_OFTEN_SECONDS = 2.0


@stored
class Work:
    """The work that a lease is for.

    Attributes:
        kind: the step's kind.
        name: the step, in words.
        sweep: the sweep that runs it.
    """

    kind: Word
    name: str = ""
    sweep: str = ""


@stored
class Holder:
    """Who holds, or held, a lease.

    Attributes:
        work: the work it is for.
        process: the process, and its machine.
        since: when it took the lease, in ISO 8601, UTC, by its own clock.
        token: random, new each time a lease is taken.
        lease_seconds: how long its counter must be unchanged before another may take over.
        seen: when it wrote its last heartbeat, by its own clock; for display only.
        counter: its heartbeats so far.
        released: whether it released the lease.
    """

    work: Work
    process: ProcessIdentity
    since: Time
    token: str
    lease_seconds: Seconds
    seen: Time
    counter: Count = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}, since {self.since}"

    def is_old(self, age: timedelta) -> bool:
        """Whether its last heartbeat is older than that, by the clocks of both machines."""
        return datetime.now(UTC) - datetime.fromisoformat(self.seen) > age

    @property
    def seconds(self) -> float:
        """How long it has held the lease at least, according to its heartbeats."""
        return self.counter * self.lease_seconds / _BEATS_PER_LEASE


_SCHEMA: Schema[Holder] = Schema(
    Holder,
    "lease",
    "a waiting process takes over after a while; to skip the wait, delete that object when"
    " nothing runs on this store",
)


@dataclass(frozen=True)
class _Sighting:
    generation: int
    holder: Holder
    at: float
    looked_at: float


class Leases:
    """Takes leases and watches those of other processes; one instance per store and process."""

    def __init__(self, objects: ObjectStore, seconds: float, reader: Reader) -> None:
        self._objects = objects
        self._seconds = seconds
        self._reader = reader
        self._seen: dict[str, _Sighting] = {}
        self._first: set[str] = set()

    def take(self, key: str, work: Work) -> Lease | None:
        """The lease of `key`, or None while another holds it; call again to keep watching."""
        if key not in self._seen:
            # Most steps have never been tried before: one request.
            lease = self._create(key, 1, work)
            if lease is not None:
                return lease
        generation = max(self._of(key), default=0)
        if generation:
            try:
                holder = self._read(key, generation)
            except MissingObject:
                return None  # its step has just ended
            if not self._may_take_over(key, generation, holder):
                return None
        return self._create(key, generation + 1, work)

    def is_first(self, key: str) -> bool:
        """Whether this instance holds a lease that nobody held before; no request."""
        return key in self._first

    def has_ended(self, key: str) -> bool:
        """Whether the first holder of a lease released it, died or fell silent; never waits.

        Call again to keep watching, more than twice per `lease_seconds`.
        """
        try:
            holder = self._read(key, 1)
        except MissingObject:
            return True
        return self._may_take_over(key, 1, holder)

    def free(self, key: str, work: Work) -> bool:
        """Whether nobody holds a lease, so that any process may take it at once; never waits.

        The lease of a dead or silent holder is released on its behalf: another process would have
        to watch it first. Call again to keep watching, more than twice per `lease_seconds`.
        """
        generation = max(self._of(key), default=0)
        try:
            holder = self._read(key, generation) if generation else None
        except MissingObject:
            return True
        if holder is None or holder.released:
            return True
        if not self._may_take_over(key, generation, holder):
            return False
        lease = self._create(key, generation + 1, work)
        if lease is not None:
            lease.release()
        return lease is not None

    def await_end(self, key: str, work: Work) -> Lease | None:
        """The lease of `key` once its holder has ended, or None if it shows a sign of life.

        Blocks for a quarter of the holder's `lease_seconds` if it lives, for all of them if not.
        """
        before: Holder | None = None
        while (lease := self.take(key, work)) is None:
            seen = self._seen.get(key)
            if seen is not None and before is not None and not _is_same_sign(seen.holder, before):
                return None
            before = seen.holder if seen is not None else None
            time.sleep(self._seconds / _LOOKS_PER_LEASE)
        return lease

    def newest(self) -> dict[str, Holder]:
        """The last holder of each lease, by key, without those whose objects are damaged."""
        newest = {_name(key, max(several)): key for key, several in self._generations("").items()}
        found = self._reader.parsed(newest, _SCHEMA.parse)
        return {newest[name]: holder for name, holder in found.items()}

    def is_left(self, key: str, age: float) -> bool:
        """Whether a lease is free, or its holder is dead or was silent for that long."""
        holder = self._newest_of(key)
        return (
            holder is None
            or holder.released
            or holder.process.is_dead()
            or holder.is_old(timedelta(seconds=age))
        )

    def remove(self, key: str) -> None:
        """Delete every generation of a lease."""
        for generation in self._of(key):
            self._objects.delete(_name(key, generation))

    def _create(self, key: str, generation: int, work: Work) -> Lease | None:
        mine = Holder(
            work=work,
            process=ProcessIdentity.here(),
            since=_now(),
            token=uuid.uuid4().hex,
            lease_seconds=self._seconds,
            seen=_now(),
        )
        started = time.monotonic()
        if not self._objects.create(_name(key, generation), _to_bytes(mine)):
            return None
        self._seen.pop(key, None)
        if generation == 1:
            self._first.add(key)
        return Lease(self._objects, key, generation, mine, started, on_end=self._first.discard)

    def _generations(self, prefix: str) -> dict[str, set[int]]:
        """The existing generations, by key, of names with this prefix."""
        found: dict[str, set[int]] = {}
        for name in self._objects.names(_PREFIX + prefix):
            match = _NAME.fullmatch(name)
            if match is not None and name == _name(match[1], int(match[2])):
                found.setdefault(match[1], set()).add(int(match[2]))
        return found

    def _newest_of(self, key: str) -> Holder | None:
        """The last holder of a lease; None if there is none."""
        generation = max(self._of(key), default=0)
        try:
            return self._read(key, generation) if generation else None
        except MissingObject:
            return None

    def _of(self, key: str) -> set[int]:
        return self._generations(f"{key}.").get(key, set())

    def _read(self, key: str, generation: int) -> Holder:
        name = _name(key, generation)
        data = b""
        try:
            data = self._objects.read(name, MOST_BYTES)
            return _SCHEMA.parse(name, data)
        except CorruptObject as error:
            self._reader.note([error])
            return self._nobody(data)

    def _nobody(self, data: bytes) -> Holder:
        """The holder of a damaged lease: it counts as silent unless the object changes."""
        return Holder(
            work=Work("unknown"),
            process=ProcessIdentity("an unknown machine", 1, "", ""),
            since=_now(),
            token=hashlib.sha256(data).hexdigest(),
            lease_seconds=self._seconds,
            seen=_now(),
        )

    def _may_take_over(self, key: str, generation: int, holder: Holder) -> bool:
        if holder.released or holder.process.is_dead():
            return True
        now = time.monotonic()
        seen = self._seen.get(key)
        silence = max(self._seconds, holder.lease_seconds)
        if (
            seen is None
            or seen.generation != generation
            or not _is_same_sign(seen.holder, holder)
            # The store may have been unavailable to the holder, too: that is not its silence.
            or now - seen.looked_at > max(silence / 2, _OFTEN_SECONDS)
        ):
            self._seen[key] = _Sighting(generation, holder, at=now, looked_at=now)
            return False
        if now - seen.at < silence:
            self._seen[key] = replace(seen, looked_at=now)
            return False
        _log.warning("lease of %s: no heartbeat from %s, taking over", key, holder)
        return True


class Lease:
    """A lease held by this process, kept alive by a thread until it ends.

    Attributes:
        key: of the step that may be run.
        generation: how many times it was taken, this time included.
    """

    def __init__(
        self,
        objects: ObjectStore,
        key: str,
        generation: int,
        holder: Holder,
        taken_at: float,
        on_end: Callable[[str], None],
    ) -> None:
        self.key = key
        self.generation = generation
        self._objects = objects
        self._holder = holder
        self._alive_at = taken_at
        self._was_silent = False
        self._on_end = on_end
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {key}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def check(self) -> None:
        """Make sure that no other process has taken over the step.

        Costs a request only if one may have: after a silence of `lease_seconds`, because this
        process was suspended or the store unavailable.

        Raises:
            LeaseLost: another process took over.
        """
        silent = time.monotonic() - self._alive_at > self._holder.lease_seconds
        if not (silent or self._was_silent):
            return
        try:
            name = _name(self.key, self.generation + 1)
            holder = f"{_SCHEMA.parse(name, self._objects.read(name, MOST_BYTES))}"
        except MissingObject:
            return
        except CorruptObject as error:
            holder = f"another ({error.subject}: {error.reason})"
        remedy = "this process stops the step; the other process, or the next run, completes it"
        raise LeaseLost(f"lease of {self.key}", f"taken over by {holder}", remedy)

    def earlier_seconds(self) -> float:
        """How long earlier holders ran the step; the first holder needs no request for it."""
        names = [_name(self.key, older) for older in range(1, self.generation)]
        try:
            found = Reader(self._objects).parsed(names, _SCHEMA.parse)
            return sum(holder.seconds for holder in found.values())
        except StoreError as error:
            # Not worth failing a step that is done.
            _log.warning("lease of %s: how long others held it is unknown (%s)", self.key, error)
            return 0.0

    def release(self) -> None:
        """Let another process take the lease at once; does nothing once the lease has ended."""
        if not self._end.is_set():
            self._stop()
            self._unless_refused(lambda: self._write(replace(self._holder, released=True)))

    def finish(self) -> None:
        """Delete the lease: the outcome of its step is final."""
        self._stop()
        self._unless_refused(self._delete)

    def _stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._on_end(self.key)

    def _unless_refused(self, change: Callable[[], None]) -> None:
        try:
            change()
        except StoreError as error:
            # Not worth failing a step that is done: a lease expires by itself.
            _log.warning("lease of %s: not released (%s)", self.key, error)

    def _delete(self) -> None:
        for generation in range(self.generation, 0, -1):
            self._objects.delete(_name(self.key, generation))

    def _beat(self) -> None:
        while not self._end.wait(self._holder.lease_seconds / _BEATS_PER_LEASE):
            started = time.monotonic()
            try:
                self._write(replace(self._holder, counter=self._holder.counter + 1, seen=_now()))
            except StoreError as error:
                # The next beat may reach the store; `check` counts the silence.
                _log.warning("lease of %s: no heartbeat (%s)", self.key, error)
            else:
                silent = time.monotonic() - self._alive_at
                self._was_silent |= silent > self._holder.lease_seconds
                self._alive_at = started

    def _write(self, holder: Holder) -> None:
        self._holder = holder
        self._objects.write(_name(self.key, self.generation), _to_bytes(holder))


def _name(key: str, generation: int) -> str:
    return f"{_PREFIX}{key}.{generation:06d}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _to_bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _is_same_sign(before: Holder, now: Holder) -> bool:
    """Whether two observations saw the same heartbeat of the same holder."""
    return (before.token, before.counter, before.released) == (
        now.token,
        now.counter,
        now.released,
    )
