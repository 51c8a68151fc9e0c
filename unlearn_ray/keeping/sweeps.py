"""The sweeps of a store, each in one line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from unlearn_ray.keeping.holdings import Holdings
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses
from unlearn_ray.storage.store import Store

SweepState = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class ListedSweep:
    """One sweep.

    Attributes:
        sweep: its name.
        state: `running` if a driver shows a heartbeat; `finished` if nothing remains to be run,
            and `stopped` otherwise. None without a manifest, which says what it wanted.
        studies: how many it has.
        rows: how many it has.
        bytes: of the artifacts that it refers to, also where other sweeps do.
        started: when it was last started, ISO 8601; None without a manifest.
        age_days: since then.
    """

    sweep: str
    state: SweepState | None
    studies: int
    rows: int
    bytes: int
    started: str | None
    age_days: float | None


def listed_sweeps(store: Store) -> list[ListedSweep]:
    """The sweeps of a store, the last started first, then those without a manifest.

    Raises:
        StoreError: it cannot be read.
    """
    holdings = Holdings.of(store)
    states: dict[str, SweepState] = {}
    if holdings.manifests:
        for status in sweep_statuses(store, None, Observer()):
            ended: SweepState = "finished" if status.finished else "stopped"
            states[status.name] = "running" if status.drivers else ended
    now = datetime.now(UTC)
    found = []
    for name in holdings.sweeps:
        manifest = holdings.manifests.get(name)
        rows = holdings.rows_of.get(name, [])
        started = None if manifest is None else manifest.started
        age = None if started is None else now - datetime.fromisoformat(started)
        records = (holdings.records[key] for key in holdings.references[name])
        studies = {row["study_key"] for row in rows} - {""}
        found.append(
            ListedSweep(
                sweep=name,
                state=states.get(name),
                studies=len(studies if manifest is None else manifest.studies),
                rows=len(rows),
                bytes=sum(entry.size for one in records for entry in holdings.present(one)),
                started=started,
                age_days=None if age is None else age.total_seconds() / 86400,
            )
        )
    return found
