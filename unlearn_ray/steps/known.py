"""`Known`: a cache of records. Records never change, so none is read twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import MissingObject
from unlearn_ray.storage.objects import THREADS
from unlearn_ray.storage.store import Record, Store

if TYPE_CHECKING:
    from unlearn_ray.steps.base import Step

_MOST = 4_096


class Known:
    """The most recently read records.

    Args:
        store: where all others are read from.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._records: OrderedDict[str, Record] = OrderedDict()

    def get(self, step: Step) -> Record | None:
        """The record of a step, if it is cached."""
        return self._records.get(step.key)

    def keep(self, record: Record) -> None:
        """Add a record, and those of the steps that share it."""
        for one in (record, *record.sharing):
            self._records[one.key] = one
            self._records.move_to_end(one.key)
        while len(self._records) > _MOST:
            self._records.popitem(last=False)

    def forget(self, steps: Iterable[Step]) -> None:
        """Drop the records of steps: what was kept is not what the store holds."""
        for step in steps:
            self._records.pop(step.key, None)

    def look(self, steps: Iterable[Step]) -> None:
        """Read the records of steps that the store holds, many at a time.

        Raises:
            CorruptObject: one is damaged.
        """
        unknown = [step for step in steps if step.key not in self._records]
        if not unknown:
            return
        with ThreadPoolExecutor(min(THREADS, len(unknown))) as pool:
            for record in pool.map(lambda step: self.store.record(step.name, step.key), unknown):
                if record is not None:
                    self.keep(record)

    def of(self, step: Step) -> Record:
        """The record of a completed step.

        Raises:
            MissingObject: it has no record.
        """
        if step.key not in self._records:
            self.look([step])
        record = self.get(step)
        if record is None:
            raise MissingObject(f"{step}", "has no record in the store", "run the sweep again")
        return record
