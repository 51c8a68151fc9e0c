"""Which sweeps run on a store now, so that nothing that they need is removed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from unlearn_ray.keeping.holdings import MANIFESTS
from unlearn_ray.storage.objects import Entry
from unlearn_ray.storage.store import Holder, Store

_LOOKS_PER_LEASE = 40


class Watch:
    """Tells living holders of leases from dead ones by their heartbeats, never by a clock.

    Args:
        store: whose leases are watched.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # The last sign of each holder that was silent for as long as its lease lasts.
        self._silent: dict[str, tuple[str, int]] = {}
        self._alive: set[str] = set()
        self._running: frozenset[str] = frozenset()
        self._announced: Mapping[str, Entry] = {}

    def sweeps(self) -> frozenset[str]:
        """The sweeps that run.

        Blocks until every holder has shown a heartbeat or was silent for as long as its lease
        lasts, which is at once where nothing runs.
        """
        self._announced = self._manifests()
        first, since = self._held(), time.monotonic()
        holders = first
        while True:
            waited = time.monotonic() - since
            for key, holder in holders.items():
                silence = max(self._store.lease_seconds, holder.lease_seconds)
                # One that was taken meanwhile is a sign of life by itself.
                if key not in first or _sign(first[key]) != _sign(holder):
                    self._alive.add(key)
                elif key not in self._alive and waited >= silence:
                    self._silent[key] = _sign(holder)
            if all(self._is_decided(key, holder) for key, holder in holders.items()):
                alive = (holder for key, holder in holders.items() if key in self._alive)
                self._running = frozenset(holder.work.sweep for holder in alive)
                return self._running
            time.sleep(self._store.lease_seconds / _LOOKS_PER_LEASE)
            holders = self._held()

    def news(self) -> frozenset[str]:
        """The sweeps that have started since `sweeps` was last asked; never waits.

        One that has ended meanwhile has written its manifest, as has one that was started again,
        and may now need other steps than before.
        """
        holders = self._held()
        running = {
            holder.work.sweep
            for key, holder in holders.items()
            if key not in self._alive and self._silent.get(key) != _sign(holder)
        }
        announced = self._manifests().items() - self._announced.items()
        return frozenset((running - self._running) | {_sweep_of(name) for name, _ in announced})

    def _manifests(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self._store.objects.entries(MANIFESTS)}

    def _held(self) -> Mapping[str, Holder]:
        """The leases of drivers and steps that somebody may hold."""
        return {
            key: holder
            for key, holder in self._store.holders().items()
            if holder.work.sweep and not holder.released and not holder.process.is_dead()
        }

    def _is_decided(self, key: str, holder: Holder) -> bool:
        return key in self._alive or self._silent.get(key) == _sign(holder)


def _sign(holder: Holder) -> tuple[str, int]:
    return holder.token, holder.counter


def _sweep_of(name: str) -> str:
    return name.removeprefix(MANIFESTS).removesuffix(".json")
