"""Several drivers of a study with several objectives, constraints, or another sampler."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.simulation import Driver, Ran, alone, history, simulated, together
from unlearn_ray.config.sweep_schema import Search, Sweep
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.objectives.constraints import Constraint
from unlearn_ray.objectives.goal import Goal
from unlearn_ray.objectives.unlearning_seconds import UnlearningSeconds
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.history import winners

TRIALS = 24
BOTH = (AverageGap(), UnlearningSeconds())
LIMIT = (Constraint(column="average_gap", sense="<=", bound=5.0),)
SEVERAL = Goal(objectives=BOTH)
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "two objectives": (SEVERAL, {}),
    "with a constraint": (Goal(objectives=BOTH, constraints=LIMIT), {}),
    "one objective with a constraint": (Goal(objectives=BOTH[:1], constraints=LIMIT), {}),
    "nsga2": (SEVERAL, {"sampler": {"nsga2": {"population_size": 4}}}),
    "qmc": (SEVERAL, {"sampler": "qmc"}),
    "median": (AverageGap(), {"pruner": "median"}),
    "hyperband": (AverageGap(), {"pruner": "hyperband"}),
    "no pruner": (SEVERAL, {"sampler": "random", "pruner": "none"}),
}


@pytest.fixture(params=CASES)
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Sweep:
    objective, search = CASES[request.param]
    made = simulated(tmp_path, Search(trials=TRIALS, startup=4, **search))
    return replace(made, objective=objective)


def test_killed_drivers_and_restarts_change_nothing(tmp_path: Path, sweep: Sweep) -> None:
    expected = alone(sweep, open_store(str(tmp_path / "alone")))
    store, drawn = str(tmp_path / "store"), random.Random(0)

    def kill(drivers: list[Driver]) -> None:
        for driver in drawn.sample(drivers, 2):
            time.sleep(0.2 * drawn.random())
            driver.killed.set()

    # All of them die, and later others go on.
    driver = Driver(sweep, store, Ran(), seconds=0.05)
    threading.Timer(0.3, driver.killed.set).start()
    together([driver])
    together([Driver(sweep, store, Ran(), seed=n, seconds=0.05) for n in range(3)], kill)
    assert history(sweep, open_store(store)) == expected
    assert len(expected) == TRIALS
    stopped = sum(trial.state == "stopped" for trial in expected)
    assert (stopped > 0) == (sweep.search.pruner != "none")
    chosen = winners(expected)
    if len(sweep.objective.each()) > 1:
        assert len(chosen) > 1
    else:
        assert len(chosen) == 1
    if sweep.objective.constraints_of():
        assert chosen[0].violation == 0.0
        assert any(trial.violation > 0 for trial in expected)
