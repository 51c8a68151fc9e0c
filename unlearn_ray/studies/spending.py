"""`Spending`: the accelerator hours of a sweep, by item.

A reference step's record and a trial's rows hold their cost and the sweep that paid for it, so that
a restarted sweep knows what it has already spent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from unlearn_ray.storage.store import Record
from unlearn_ray.studies.history import Row
from unlearn_ray.studies.rows import HOURS


class Spending:
    """Accelerator hours by item: the key of a reference step, or the name of a row."""

    def __init__(self) -> None:
        self._hours: dict[str, float] = {}
        self._total = 0.0
        self._lock = threading.Lock()

    @property
    def total(self) -> float:
        """All accelerator hours."""
        return self._total

    def note(self, item: str, hours: float) -> None:
        """Set what an item has cost so far, replacing an earlier value."""
        with self._lock:
            self._total += hours - self._hours.get(item, 0.0)
            self._hours[item] = hours


def spent_by(sweep: str, references: Iterable[Record], rows: Iterable[Row]) -> Spending:
    """What a sweep has spent, according to the store.

    Args:
        sweep: its name.
        references: records of its reference steps, whichever sweep ran them.
        rows: rows of its studies, whichever sweep ran them.
    """
    spending = Spending()
    for record in references:
        if record.sweep == sweep:
            spending.note(record.key, record.accelerator_hours)
    for row in rows:
        if row["sweep"] == sweep:
            spending.note(row["row"], sum(row.get(column) or 0.0 for column in HOURS))
    return spending
