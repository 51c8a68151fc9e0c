"""What the driver knows of trials: that one was stopped, or its workers lost, is in its rows.

Whoever reads the table asks the store for every small file. Rows of ended trials are merged while
the sweep runs: without that, to resume one of 10,000 trials would begin with as many requests as
there are rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from unlearn_ray.pipeline.study import row_name, study_key
from unlearn_ray.pipeline.sweep_schema import Sweep
from unlearn_ray.pipeline.trial import TrialSeed, lost_row
from unlearn_ray.scheduling.search import Assignment, Ending
from unlearn_ray.storage.store import Store

MERGED_AT_A_TIME = 2000


class TuningRows:
    """The rows of trials that end.

    Args:
        sweep: with its studies.
        store: of the rows.
        later: takes work that blocks.
    """

    def __init__(
        self, sweep: Sweep, store: Store, later: Callable[[Callable[[], object]], None]
    ) -> None:
        self._sweep = sweep
        self._store = store
        self._later = later
        self._studies = {study.name: study for study in sweep.studies}
        self._keys = {study.name: study_key(sweep, study) for study in sweep.studies}
        self._settled: list[str] = []

    def settle(self, assignment: Assignment, ending: Ending) -> None:
        """Write what only the driver knows of a trial; none of its rows changes any more."""
        seeds = self._sweep.seeds.tuning
        if ending.state == "stopped":
            self._mark_stopped(self._name(assignment, seeds[ending.seeds_run - 1]))
        elif ending.lost:
            self._write_lost(assignment, seeds[ending.seeds_run], ending.failure or "")
        ended_at = ending.seeds_run + (ending.state == "failed")
        self._settled += [self._name(assignment, seed) for seed in seeds[:ended_at]]
        if len(self._settled) >= MERGED_AT_A_TIME:
            self._later(partial(self._store.compact, self._settled))
            self._settled = []

    def _name(self, assignment: Assignment, seed: int) -> str:
        key = self._keys[assignment.study]
        return row_name(key, self._sweep.name, "tuning", assignment.number, seed)

    def _mark_stopped(self, name: str) -> None:
        """Say in a trial's last row that it ended there."""
        row = self._store.row(name)
        assert row is not None, "a trial is stopped after it wrote a row"
        self._store.write_row(name, {**row, "state": "stopped"})

    def _write_lost(self, assignment: Assignment, seed: int, failure: str) -> None:
        study = self._studies[assignment.study]
        number, point = assignment.number, assignment.point
        trial = TrialSeed.of(self._sweep, study, number, point, seed, "tuning")
        self._store.write_row(trial.row_name, lost_row(trial, failure))
