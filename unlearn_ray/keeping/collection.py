"""`collect`: removes weights and large observations that nothing kept needs.

Records and rows stay, so nothing that they say is lost, and no step is run again for them. Whatever
runs at the same time, and wherever this process is killed, nothing needed is lost and nothing half
removed counts as complete:

- One process at a time removes (`Store.keeper`). It stops if it was suspended and another took
  over.
- What a running sweep may ask for is never removed (`policy`). Which sweeps run is told by their
  heartbeats alone, before anything is marked.
- A step's removal is written before the first of its files is deleted. Between the two, this
  process looks again for sweeps that have started since: if there is one, it withdraws what it has
  written and stops. A sweep that starts later than that finds the removals: it runs a step again
  whose artifact it needs (`steps.graph`), as if it had started when all was over.
- Killed before the deletion, it leaves removals of artifacts that are there. They are read as ever,
  since a removal is looked for only where a file is gone. Killed during it, some files of an
  artifact are gone: it counts as removed, and the next call, which goes by what is there, removes
  the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from unlearn_ray.core.errors import StoreError
from unlearn_ray.keeping.holdings import Holdings
from unlearn_ray.keeping.policy import Models, Needless, large_quantities, needless
from unlearn_ray.keeping.running import Watch
from unlearn_ray.storage.leftovers import Leftovers
from unlearn_ray.storage.objects import THREADS
from unlearn_ray.storage.store import Lease, Store

_AT_A_TIME = 200


@dataclass
class Collected:
    """What was removed, or would be.

    Attributes:
        artifacts: of steps whose records stay.
        leftovers: of killed processes.
        running: the sweeps that run, of which everything stays.
        started: sweeps that started meanwhile, so that the rest stayed, too.
    """

    artifacts: list[Needless] = field(default_factory=list)
    leftovers: Leftovers = field(default_factory=Leftovers)
    running: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """In bytes."""
        return self.leftovers.size + sum(one.size for one in self.artifacts)


def collect(
    store: Store,
    models: Models,
    *,
    age: timedelta = timedelta(0),
    remove: bool = True,
    sweep: str | None = None,
    why: str = "gc",
) -> Collected:
    """Remove the weights and large observations that nothing kept needs.

    And what killed processes left (`Store.clean`), unless one sweep is named.

    Args:
        store: the store.
        models: which tuning runs' models are kept (`policy`).
        age: what was written less long ago stays, by the store's clock.
        remove: False only finds them.
        sweep: only what this sweep refers to; None is everything.
        why: said where something removed is asked for.

    Raises:
        StoreError: another process is removing or merging; a record or manifest cannot be read, so
            that what it needs is unknown; or the store fails.
    """
    if not remove:
        return _collect(store, models, age, None, sweep, why)
    with kept_alone(store, why) as lease:
        return _collect(store, models, age, lease, sweep, why)


def kept_alone(store: Store, why: str) -> Lease:
    """The right to remove or merge.

    Raises:
        StoreError: another process has it.
    """
    lease = store.keeper(why)
    if lease is None:
        reason = "another process is removing from it, or merging into it"
        raise StoreError(f"store {store.url}", reason, "run the command again when it has ended")
    return lease


def removed_unless_started(
    store: Store,
    several: Sequence[Needless],
    watch: Watch,
    running: frozenset[str],
    lease: Lease,
    why: str,
) -> frozenset[str]:
    """Remove artifacts, unless sweeps have started since `running` was told; returns those."""
    steps = [one.record.step for one in several]
    store.removals.announce(steps, why)
    started = watch.news()
    # Before anything is withdrawn: whoever took over may have deleted these files.
    lease.check()
    if started:
        # Only these: what an earlier, killed process has deleted must stay announced.
        store.removals.withdraw(one.record.step for one in several if one.whole)
        return started
    names = [entry.name for one in several for entry in one.files]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(store.objects.delete, names))
    return frozenset()


def _collect(
    store: Store, models: Models, age: timedelta, lease: Lease | None, sweep: str | None, why: str
) -> Collected:
    watch = Watch(store)
    running = watch.sweeps()
    now = store.now() if lease is not None or age else 0.0
    holdings = Holdings.of(store)
    holdings.check_whole(store, running)
    large = large_quantities()
    found = Collected(running=running)
    marked = [
        one
        for one in needless(holdings, models, running=running, large=large, sweep=sweep)
        if not age or all(now - entry.written >= age.total_seconds() for entry in one.files)
    ]
    if lease is None:
        found.artifacts = marked
    else:
        for several in _batches(marked):
            found.started = removed_unless_started(store, several, watch, running, lease, why)
            if found.started:
                return found
            found.artifacts += several
    if sweep is None:
        found.leftovers = store.clean(remove=lease is not None)
    return found


def _batches(marked: Sequence[Needless]) -> Iterator[Sequence[Needless]]:
    return (marked[start : start + _AT_A_TIME] for start in range(0, len(marked), _AT_A_TIME))
