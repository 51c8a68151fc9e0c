"""`Jobs`: a graph of jobs in the driver, each waiting for work on the cluster."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# The longest delay before a job that waits for another process is retried: less than half of
# `lease_seconds`, so that a silent holder is watched without a gap.
LONGEST_WAIT_SECONDS = 5.0


class Later(Exception):
    """Raised by a job that cannot run now, to be retried in a moment."""


@dataclass(frozen=True)
class Job:
    """One piece of work to wait for.

    Attributes:
        name: unique.
        work: blocks until it is done, or raises; `Later` frees its slot for other jobs.
        after: names of the jobs that must be done first.
        slots: as many "training" jobs run at a time as the cluster has room for.
    """

    name: str
    work: Callable[[], object]
    after: frozenset[str] = frozenset()
    slots: str = ""


@dataclass
class Jobs:
    """Starts every job as soon as those it comes after are done.

    Attributes:
        limits: how many jobs of a kind of slot may run at a time; called each time.
    """

    limits: dict[str, Callable[[], int]]
    _waiting: dict[str, Job] = field(default_factory=dict)
    _running: dict[str, Job] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _tries: Counter[str] = field(default_factory=Counter)
    _not_before: dict[str, float] = field(default_factory=dict)
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
            BaseException: what a job raised; running jobs continue in their daemon threads.
        """
        while not stopping():
            self._start_ready()
            if not self._running and not self._waiting:
                return
            assert self._running or self._not_before, "jobs wait for jobs that were never added"
            try:
                name, error = self._ended.get(timeout=poll_seconds)
            except queue.Empty:
                continue
            with self._lock:
                job = self._running.pop(name)
                if isinstance(error, Later):
                    self._put_off(job)
                    continue
                self._done.add(name)
            if error is not None:
                raise error

    def _put_off(self, job: Job) -> None:
        self._tries[job.name] += 1
        wait = min(LONGEST_WAIT_SECONDS, 0.5 * 1.5 ** min(self._tries[job.name], 9))
        self._not_before[job.name] = time.monotonic() + wait
        self._waiting[job.name] = job

    def _start_ready(self) -> None:
        with self._lock:
            for job in list(self._waiting.values()):
                used = sum(other.slots == job.slots for other in self._running.values())
                limit = self.limits.get(job.slots)
                ready = job.after <= self._done and self._is_time(job)
                if ready and (limit is None or used < limit()):
                    del self._waiting[job.name]
                    self._not_before.pop(job.name, None)
                    self._running[job.name] = job
                    threading.Thread(target=self._work, args=(job,), daemon=True).start()

    def _is_time(self, job: Job) -> bool:
        return time.monotonic() >= self._not_before.get(job.name, 0.0)

    def _work(self, job: Job) -> None:
        error: BaseException | None = None
        try:
            job.work()
        except BaseException as caught:  # passed to `run`, which raises it
            error = caught
        self._ended.put((job.name, error))
