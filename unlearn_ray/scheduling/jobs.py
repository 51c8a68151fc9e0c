"""`Jobs`: a graph of waiting work in the driver; what it waits for runs on the cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Job:
    """One thing to wait for.

    Attributes:
        name: unique.
        work: blocks until it is done, or raises.
        after: names of the jobs that must be done first.
        slots: "training" jobs run as many at a time as the cluster has room for.
    """

    name: str
    work: Callable[[], object]
    after: frozenset[str] = frozenset()
    slots: str = ""


@dataclass
class Jobs:
    """Starts every job as soon as what it comes after is done.

    Attributes:
        limits: how many jobs of a kind of slots run at a time; asked each time.
    """

    limits: dict[str, Callable[[], int]]
    _waiting: dict[str, Job] = field(default_factory=dict)
    _running: dict[str, Job] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _ended: queue.SimpleQueue[tuple[str, BaseException | None]] = field(
        default_factory=queue.SimpleQueue
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, jobs: Iterable[Job]) -> None:
        """Add jobs; also from the work of a running one."""
        with self._lock:
            for job in jobs:
                if job.name not in self._running and job.name not in self._done:
                    self._waiting.setdefault(job.name, job)

    def run(self, stopping: Callable[[], bool], poll_seconds: float = 0.2) -> None:
        """Run until nothing waits or runs, or until `stopping`.

        Raises:
            BaseException: what a job raised; jobs that run go on in their daemon threads.
        """
        while not stopping():
            self._start_ready()
            if not self._running and not self._waiting:
                return
            assert self._running, "jobs wait for jobs that were never added"
            try:
                name, error = self._ended.get(timeout=poll_seconds)
            except queue.Empty:
                continue
            with self._lock:
                self._running.pop(name)
                self._done.add(name)
            if error is not None:
                raise error

    def _start_ready(self) -> None:
        with self._lock:
            for job in list(self._waiting.values()):
                used = sum(other.slots == job.slots for other in self._running.values())
                limit = self.limits.get(job.slots)
                if job.after <= self._done and (limit is None or used < limit()):
                    del self._waiting[job.name]
                    self._running[job.name] = job
                    threading.Thread(target=self._work, args=(job,), daemon=True).start()

    def _work(self, job: Job) -> None:
        error: BaseException | None = None
        try:
            job.work()
        except BaseException as caught:  # handed to `run`, which raises it
            error = caught
        self._ended.put((job.name, error))
