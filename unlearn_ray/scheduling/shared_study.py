"""`SharedStudy`: one study, whose trials this driver and any others on the store run.

Every driver computes the same suggestions (`sampler`), claims a trial before running it, and skips
those that others run. Rows tell it how these ended. So drivers on one store share the search,
whether they run one sweep or several that have the study in common.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.keys import canonical
from unlearn_ray.scheduling.pruners import Pruner, TrialBars, pruner
from unlearn_ray.scheduling.sampler import Sampler
from unlearn_ray.storage.store import Claim, Store
from unlearn_ray.studies.fronts import Score, Vector
from unlearn_ray.studies.history import Row, TrialRecord, first_mean, trial_record
from unlearn_ray.studies.rows import HOURS, State
from unlearn_ray.studies.study import row_name, study_key

# How often the store is polled for trials that other drivers run.
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Assignment:
    """One trial that this driver runs.

    Attributes:
        study: the study's name.
        number: the trial's number.
        point: the values of the searched fields.
        bars: for each tuning seed but the last, what stops the trial there.
    """

    study: str
    number: int
    point: dict[str, Any]
    bars: TrialBars = ()


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        scores: one per tuning seed that was run.
        failure: why it failed.
        hours: accelerator hours of each seed's row.
        untold: whether it failed and has no row yet.
        again: whether it is left without a row, because what failed was not the trial (but the
            store, for example) and a later run may succeed.
        rows: those that another driver wrote, by seed; empty if this driver ran it.
        excesses: for each of these seeds, what it is beyond each constraint; empty without any.
    """

    state: State
    scores: tuple[Score, ...]
    failure: str | None = None
    hours: tuple[float, ...] = ()
    untold: bool = False
    again: bool = False
    rows: Mapping[int, Row] | None = None
    excesses: tuple[Vector, ...] = ()

    @property
    def score(self) -> float:
        """Mean score over the seeds that were run, by the first objective."""
        return first_mean(self.scores)


class SharedStudy:
    """The trials of one study.

    Attributes:
        name: of the study.
        fixed: fields that are not searched.
        started: how many trials this driver has started.
        broken: whether a trial was given back, so that later ones cannot be suggested.

    Args:
        sweep, study: the study, and the sweep it is run for.
        past: its trials so far, from the rows.
        store: holds the rows and claims.
        driver: key of this driver's lease.
        on_end: called with each trial that another driver has ended.
    """

    def __init__(
        self,
        sweep: Sweep,
        study: Study,
        past: list[TrialRecord],
        store: Store,
        driver: str,
        on_end: Callable[[Assignment, Ending], None],
    ) -> None:
        self.name = study.name
        self.fixed = study.fixed
        self.started = 0
        self.broken = False
        self._sweep = sweep
        self._study = study
        self._key = study_key(sweep, study)
        self._store = store
        self._driver = driver
        self._on_end = on_end
        self._wanted = sweep.trials(study)
        self._starts = sweep.starts(study)
        self._sampler = self._new_sampler() if study.space else None
        self._pruner = self._new_pruner()
        self._told = 0
        self._ended: dict[int, TrialRecord] = {}
        self._here: set[int] = set()
        self._points = {trial.number: trial.point for trial in past}
        self._bars_of: dict[int, TrialBars] = {}
        for trial in past:
            if trial.state != State.UNFINISHED and trial.number < self._wanted:
                self._ended[trial.number] = trial
        self._first = 0
        self._skip_ended()
        self._left = set(range(self._wanted)) - self._ended.keys()
        self._claims: dict[int, Claim] = {}
        self._gone: set[str] = set()
        # Rows of trials that others run, by number and seed.
        self._rows: dict[int, dict[int, Row]] = {}
        self._looked_at = -math.inf
        self._learn(store.claims(self._key).newest(self._left))

    @property
    def left(self) -> int:
        """How many trials may still be started here: neither ended nor running here."""
        return 0 if self.broken else len(self._left)

    @property
    def elsewhere(self) -> bool:
        """Whether other drivers are known to run trials of it."""
        self._look()
        return any(self._elsewhere(number) for number in self._left)

    def next(self) -> Assignment | None:
        """A claimed trial to run here; None if other drivers run all that may run now."""
        if self.broken:
            return None
        self._look()
        end = min(self._wanted, self._first + self._sweep.search.lag)
        for number in range(self._first, end):
            if number in self._left and not self._elsewhere(number):
                point = self._point(number)
                if self._claimed(number, point):
                    self._left.remove(number)
                    self._here.add(number)
                    self.started += 1
                    return Assignment(self.name, number, point, self._bars_of[number])
        return None

    def put_back(self, number: int) -> None:
        """Queue a trial of this driver for a restart, before any other of the study."""
        self._here.remove(number)
        self._left.add(number)
        self.started -= 1

    def give_back(self, number: int) -> None:
        """Release a trial that could not be run to other drivers, or to the next run."""
        self._here.remove(number)
        self._left.add(number)
        self._store.claims(self._key).give_back(number, self._claims[number])
        self.broken = True

    def end(self, assignment: Assignment, ending: Ending) -> None:
        """Handle the end of a trial, no matter which driver ran it."""
        number = assignment.number
        self._here.discard(number)
        self._left.discard(number)
        self._claims.pop(number, None)
        self._bars_of.pop(number, None)
        self._rows.pop(number, None)
        self._ended[number] = TrialRecord(
            number,
            assignment.point,
            ending.scores,
            ending.state,
            ending.failure,
            ending.excesses,
        )
        self._skip_ended()

    def _skip_ended(self) -> None:
        while self._first in self._ended:
            self._first += 1

    def _learn(self, claims: Mapping[int, Claim]) -> None:
        for number, claim in claims.items():
            self._check_point(number, claim)
            self._claims[number] = claim
            mine = self._points.setdefault(number, claim.point)
            if canonical(mine) != canonical(claim.point):
                # It was suggested on another kind of machine, or by another version of the sampler.
                self._points[number] = claim.point
                self._start_over()

    def _check_point(self, number: int, claim: Claim) -> None:
        """Check that a claimed point belongs to this study."""
        try:
            fits = self._study.has(claim.point)
            self._study.at(claim.point)
        except (ValueError, TypeError):
            fits = False
        if not fits:
            raise CorruptObject(
                f"claim {claim.generation} of trial {number} of {self.name}",
                "its point does not belong to this study",
                f"when nothing runs on this store, delete claims/{self._key}/{number:06d}.*",
            )

    def _start_over(self) -> None:
        """Restart the sampler, with the points that others have claimed."""
        assert self._sampler is not None
        self._sampler = self._new_sampler()
        self._pruner = self._new_pruner()
        self._told = 0

    def _new_sampler(self) -> Sampler:
        objectives = len(self._sweep.objective.each())
        return Sampler(self.name, self._study.space, self._sweep.search, objectives)

    def _new_pruner(self) -> Pruner:
        objective = self._sweep.objective
        return pruner(
            self._sweep.search,
            len(self._sweep.seeds.tuning),
            self.name,
            len(objective.each()),
            bool(objective.constraints_of()),
        )

    def _point(self, number: int) -> dict[str, Any]:
        """The point of a trial; those of all earlier trials are known."""
        if self._sampler is None:
            self._bars_of[number] = ()
            return {}
        while self._sampler.asked <= number:
            asked = self._sampler.asked
            self._tell_until(asked - self._sweep.search.lag)
            if asked in self._left or asked in self._here:
                self._bars_of[asked] = self._pruner.now(asked)
            known = self._points.get(asked)
            if known is None and asked < len(self._starts):
                known = self._starts[asked]
            self._points[asked] = self._sampler.ask(known)
        return self._points[number]

    def _tell_until(self, last: int) -> None:
        assert self._sampler is not None
        while self._told <= last:
            self._sampler.tell(self._ended[self._told])
            self._pruner.tell(self._ended[self._told])
            self._told += 1

    def _elsewhere(self, number: int) -> bool:
        """Whether another driver is known to run a trial."""
        claim = self._claims.get(number)
        return claim is not None and claim.driver not in (self._driver, "", *self._gone)

    def _claimed(self, number: int, point: dict[str, Any]) -> bool:
        """Whether this driver runs the trial."""
        claims, sweep = self._store.claims(self._key), self._sweep.name
        known = self._claims.get(number)
        if known is None:
            known = claims.take(number, point, self._driver, sweep)
            self._learn({number: known})
        elif known.driver != self._driver:
            self._read_ends({number: known})
            if number not in self._left:
                return False  # its driver ended the trial, and then itself
            if not claims.take_over(number, known, self._driver, sweep):
                self._learn(claims.later({number: known}))
                return False
            self._claims[number] = Claim(point, self._driver, sweep, known.generation + 1)
            return True
        return known.driver == self._driver

    def _look(self) -> None:
        """Poll the store for ended trials of other drivers, and for those drivers' heartbeats."""
        # Often enough to detect a silent driver.
        seconds = min(POLL_SECONDS, self._store.lease_seconds / 5)
        others = {
            number: claim
            for number, claim in self._claims.items()
            if number in self._left and claim.driver not in (self._driver, "")
        }
        if not others or time.monotonic() - self._looked_at < seconds:
            return
        drivers = {claim.driver for claim in others.values()}
        # A silent driver may have come back.
        self._gone = {driver for driver in drivers if self._store.driver_has_ended(driver)}
        self._read_ends(others)
        left = {number: claim for number, claim in others.items() if number in self._left}
        self._learn(self._store.claims(self._key).later(left))
        self._looked_at = time.monotonic()

    def _read_ends(self, claims: Mapping[int, Claim]) -> None:
        """Handle the claimed trials that have ended according to their rows."""
        seeds, asked = self._sweep.seeds.tuning, dict(claims)
        while asked:
            # The next seed of each trial: rows already read need not be read again.
            names = {
                row_name(self._key, claim.sweep, "tuning", number, claim.point, seed): (
                    number,
                    seed,
                )
                for number, claim in asked.items()
                for seed in [seeds[len(self._rows.get(number, ()))]]
            }
            found = self._store.rows(names)
            for name, row in found.items():
                number, seed = names[name]
                self._rows.setdefault(number, {})[seed] = row
            asked = {names[name][0]: claims[names[name][0]] for name in found}
            for number in sorted(asked):
                rows = self._rows[number]
                trial = trial_record(number, rows, self._sweep.seeds.tuning, self._study)
                if trial.state != State.UNFINISHED:
                    del asked[number]
                    self._end_elsewhere(trial, rows)

    def _end_elsewhere(self, trial: TrialRecord, rows: Mapping[int, Row]) -> None:
        assert trial.state != State.UNFINISHED
        hours = tuple(
            sum(rows[seed].get(column) or 0.0 for column in HOURS)
            for seed in self._sweep.seeds.tuning
            if seed in rows and rows[seed]["sweep"] == self._sweep.name
        )
        assignment = Assignment(self.name, trial.number, trial.point)
        ending = Ending(
            trial.state, trial.scores, trial.failure, hours, rows=rows, excesses=trial.excesses
        )
        self.end(assignment, ending)
        self._on_end(assignment, ending)
