"""The driver's part in rows of trials: it writes those of lost workers, and merges others.

Reading the table takes a request for every small file, so rows of ended trials are merged while
the sweep runs: otherwise resuming a sweep of 10,000 trials would begin with a request per row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.scheduling.shared_study import Assignment, Ending
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.rows import HOURS, Scalar, State
from unlearn_ray.studies.study import row_name, study_key
from unlearn_ray.studies.trial import TrialSeed, lost_row

MERGED_AT_A_TIME = 2000


class TuningRows:
    """The rows of trials that end.

    Args:
        sweep: the sweep, with its studies.
        store: of the rows.
        later: runs blocking work elsewhere.
        written: the rows of these names that trials of this driver wrote, as far as known.
    """

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        later: Callable[[Callable[[], object]], None],
        written: Callable[[Sequence[str]], Mapping[str, Mapping[str, Scalar]]],
    ) -> None:
        self._sweep = sweep
        self._store = store
        self._later = later
        self._written = written
        self._studies = {study.name: study for study in sweep.studies}
        self._keys = {study.name: study_key(sweep, study) for study in sweep.studies}
        self._settled: list[str] = []

    def settle(self, assignment: Assignment, ending: Ending) -> None:
        """Write what only the driver knows about an ended trial."""
        seeds = self._sweep.seeds.tuning
        if ending.untold:
            self._write_failed(assignment, seeds[len(ending.scores)], ending.failure or "")
        ended_at = len(ending.scores) + (ending.state == State.FAILED)
        self._settle([self.name(assignment, seed) for seed in seeds[:ended_at]])

    def _settle(self, names: list[str]) -> None:
        self._settled += names
        if len(self._settled) >= MERGED_AT_A_TIME:
            self._later(partial(self._merge, self._settled))
            self._settled = []

    def _merge(self, names: list[str]) -> None:
        written = self._written(names)
        if self._store.compact({name: written.get(name) for name in names}) is None:
            self._settled += names  # another process merges rows: merge these with the next

    def name(self, assignment: Assignment, seed: int) -> str:
        """The name of a trial's row under a tuning seed."""
        key, sweep = self._keys[assignment.study], self._sweep.name
        return row_name(key, sweep, "tuning", assignment.number, assignment.point, seed)

    def adopt(self, row: Mapping[str, Any], point: Mapping[str, Any]) -> None:
        """Copy another sweep's row of the same study into this sweep's table."""
        if row["sweep"] != self._sweep.name:
            name = row_name(
                row["study_key"], self._sweep.name, "tuning", row["trial"], point, row["seed"]
            )
            mine = {column: value for column, value in row.items() if column != "row"}
            # What another sweep has paid for costs this one nothing.
            free = dict.fromkeys(HOURS, 0.0)
            self._store.write_row(name, {**mine, "sweep": self._sweep.name, **free})
            self._settle([name])

    def _write_failed(self, assignment: Assignment, seed: int, failure: str) -> None:
        study = self._studies[assignment.study]
        number, point = assignment.number, assignment.point
        trial = TrialSeed.of(self._sweep, study, number, point, seed, "tuning")
        self._store.write_row(trial.row_name, lost_row(trial, failure))
