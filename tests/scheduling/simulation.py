"""Drivers of one study without Ray: real stores, claims and rows, trials that compute a formula.

A driver is a loop over `SharedStudy` with a few trials at a time, whose seeds take random times. It
may be killed between any two seeds: its heartbeat stops, and nothing is said.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.tiny import tiny_sweep
from unlearn_ray.config.sweep_schema import Search, Seeds, Study, Sweep
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy
from unlearn_ray.storage.store import Lease, Store, open_store
from unlearn_ray.studies.fronts import Score, Vector
from unlearn_ray.studies.history import (
    TrialRecord,
    excesses_of,
    recorded_trials,
    score_of,
    stops,
)
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.study import point_key, row_name, study_key

SPACE = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "weight_decay": Range("uniform", 0.0, 1.0),
    "schedule": Range("choice", choices=("cosine", "constant")),
}


def simulated(folder: Path, search: Search, seeds: int = 3, name: str = "simulated") -> Sweep:
    """A sweep whose one study is searched; nothing of it is trained."""
    known = tiny_sweep(folder)
    study = Study(known.studies[0].method, {"epochs": 1}, SPACE)
    tuning = Seeds(tuning=tuple(range(seeds)), reporting=(seeds,))
    return replace(known, name=name, studies=(study,), search=search, seeds=tuning)


def formula(point: dict[str, Any], seed: int) -> float:
    """A gap: a function of the point and the seed, with noise of its own for each of them."""
    noise = random.Random(f"{point_key(point)} {seed}").gauss(0, 0.3)
    wrong = 0.0 if point["schedule"] == "cosine" else 1.0
    return abs(10 * point["weight_decay"] - 3) + 30 * point["learning_rate"] + wrong + abs(noise)


@dataclass
class Ran:
    """What the drivers of one study did together.

    Attributes:
        started: numbers of the trials that were started, in order.
        seeds: how often each trial was run under each seed.
    """

    started: list[int] = field(default_factory=list)
    seeds: list[tuple[int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def scores(sweep: Sweep, point: dict[str, Any], seed: int) -> dict[str, float]:
    """The columns of scores: a gap; a cost that is small where it is large; what is beyond."""
    gap = formula(point, seed)
    found = {"score": gap}
    if len(sweep.objective.each()) > 1:
        found["score_2"] = 10 - 10 * point["weight_decay"]
    if sweep.objective.constraints_of():
        found["constraint_1"] = gap - 5
    return found


def write_seed(
    sweep: Sweep,
    store: Store,
    trial: Assignment,
    earlier: tuple[Score, ...],
    beyond: tuple[Vector, ...] = (),
) -> tuple[dict[str, Any], bool]:
    """The next seed of a trial: its row, and whether the trial ends with it."""
    (study,) = sweep.studies
    run = len(earlier)
    seed = sweep.seeds.tuning[run]
    key = study_key(sweep, study)
    scored = scores(sweep, trial.point, seed)
    bar = trial.bars[run] if run < len(trial.bars) else None
    stopped = stops(bar, (*earlier, score_of(scored)), (*beyond, excesses_of(scored)))
    row: dict[str, Any] = {
        "sweep": sweep.name, "study_key": key, "purpose": "tuning", "study": study.name,
        "method": study.method.name,
        "trial": trial.number, "point": point_key(trial.point), "seed": seed,
        "state": "stopped" if stopped else "complete", "failure": None, **scored,
        "hyperparameters": json.dumps({**study.fixed, **trial.point}),
        "created": "2026-01-01T00:00:00+00:00",
        "accelerator_hours_unlearn": 1.0, "accelerator_hours_measure": 0.0,
    }  # fmt: skip
    name = row_name(key, sweep.name, "tuning", trial.number, trial.point, seed)
    store.write_row(name, row)
    return row, stopped


class Driver:
    """One driver of a study.

    Args:
        sweep: with its one study.
        store: URL.
        ran: where it notes what it runs.
        seed: of its random times.
        concurrent: trials at a time.
        seconds: that a seed takes, at most.
        lease_seconds: of its leases.
        refuses: numbers of trials that it cannot run: the store is away from it, say.
    """

    def __init__(
        self,
        sweep: Sweep,
        store: str,
        ran: Ran,
        *,
        seed: int = 0,
        concurrent: int = 2,
        seconds: float = 0.02,
        lease_seconds: float = 2.0,
        refuses: Collection[int] = (),
    ) -> None:
        self.sweep = sweep
        self.store = open_store(store, lease_seconds=lease_seconds)
        self.ran = ran
        self.drawn = random.Random(seed)
        self.concurrent = concurrent
        self.seconds = seconds
        self.refuses = refuses
        self.killed = threading.Event()

    def run(self) -> None:
        """Until every trial of the study has ended, or it is killed."""
        with self.store.start_driver(self.sweep.name) as lease:
            self._run(lease)

    def _run(self, lease: Lease) -> None:
        (study,) = self.sweep.studies
        shared = SharedStudy(
            self.sweep,
            study,
            history(self.sweep, self.store),
            self.store,
            lease.key,
            lambda *_: None,
        )
        running: dict[Future[Ending | None], Assignment] = {}
        with ThreadPoolExecutor(self.concurrent) as pool:
            while (shared.left or running) and not self.killed.is_set():
                while len(running) < self.concurrent and (trial := shared.next()) is not None:
                    with self.ran.lock:
                        self.ran.started.append(trial.number)
                    running[pool.submit(self._trial, trial)] = trial
                for done in wait(running, timeout=0.01, return_when=FIRST_COMPLETED).done:
                    trial, ending = running.pop(done), done.result()
                    if ending is None:
                        continue
                    if ending.again:
                        shared.give_back(trial.number)
                    else:
                        shared.end(trial, ending)
        if self.killed.is_set():
            lease._end.set()  # nobody hears of it again
        else:
            lease.finish()

    def _trial(self, trial: Assignment) -> Ending | None:
        seen: tuple[Score, ...] = ()
        beyond: tuple[Vector, ...] = ()

        def ended(state: State, failure: str | None = None, again: bool = False) -> Ending:
            excesses = beyond if any(beyond) else ()
            hours = (1.0,) * len(seen)
            return Ending(state, seen, failure, hours, again=again, excesses=excesses)

        for seed in self.sweep.seeds.tuning:
            time.sleep(self.drawn.random() * self.seconds)
            if self.killed.is_set():
                return None
            if trial.number in self.refuses:
                return ended(State.FAILED, "store: no answer", again=True)
            with self.ran.lock:
                self.ran.seeds.append((trial.number, seed))
            row, stopped = write_seed(self.sweep, self.store, trial, seen, beyond)
            seen += (score_of(row),)
            beyond += (excesses_of(row),)
            if stopped:
                return ended(State.STOPPED)
        return ended(State.COMPLETE)


def history(sweep: Sweep, store: Store) -> list[TrialRecord]:
    """The trials of the sweep's study, from its rows."""
    (study,) = sweep.studies
    rows = store.read_rows(f"{study_key(sweep, study)}/").to_pylist()
    return recorded_trials(rows, sweep, study)


def alone(sweep: Sweep, store: Store) -> list[TrialRecord]:
    """The study run by one driver, one trial after the other."""
    driver = Driver(sweep, store.url, Ran(), concurrent=1, seconds=0.0)
    driver.run()
    return history(sweep, store)


def together(drivers: list[Driver], then: Callable[[list[Driver]], None] | None = None) -> None:
    """Run drivers at once; `then` may kill some, and start others in their place."""
    threads = [threading.Thread(target=driver.run) for driver in drivers]
    for thread in threads:
        thread.start()
    if then is not None:
        then(drivers)
    for thread in threads:
        thread.join()
