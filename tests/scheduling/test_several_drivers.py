"""Several drivers of one sweep at once: they end as one driver alone, whoever is killed.

Real drivers, each with a Ray of its own, on a real store; steps are those of any sweep but that
what they compute is a short sleep (benchmarks/simulated.py).
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.s3_server import ROOT
from tests.scheduling.sweeps import Driver, attempts, rows, table
from unlearn_ray.storage.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRIALS = 20
SEEDS = [0, 1, 2]
SWEEP: dict[str, Any] = {
    "name": "shared",
    "dataset": {"digits": {"image_size": 8}},
    "validation": 0.1,
    "forget_set": {"random": {"fraction": 0.01}},
    "model": "simulated",
    "family": "simulated",
    "training": {"epochs": 0},
    "metrics": ["simulated"],
    "methods": {
        "simulated_0": {"seconds": 1.0, "x": {"uniform": [0, 1]}, "y": {"uniform": [0, 1]}}
    },
    "search": {"trials": TRIALS, "startup": 4, "window": 8},
    "seeds": {"tuning": SEEDS, "reporting": [3, 4]},
}
PROGRAM = ("-m", "tests.scheduling.simulated_program")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


def driver(file: Path, store: str) -> Driver:
    return Driver(file, store, environment=ENVIRONMENT, program=PROGRAM)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """The sweep's file, and the store and table of one driver that ran it alone."""
    folder = tmp_path_factory.mktemp("alone")
    file, store = folder / "shared.yaml", str(folder / "store")
    file.write_text(yaml.safe_dump(SWEEP))
    with driver(file, store) as only:
        return file, store, table(only.ends(0).out)


def trials(store: str) -> Counter[tuple[int, int]]:
    """Rows of trials by number and tuning seed."""
    found = open_store(store).read_rows().to_pylist()
    return Counter((row["trial"], row["seed"]) for row in found if row["purpose"] == "tuning")


def check(store: str, alone: tuple[Path, str, list[str]], outs: list[str]) -> Counter[str]:
    """Everything is as one driver left it; returns trainings that were run more than once."""
    _, expected, its_table = alone
    assert rows(store) == rows(expected)
    for out in outs:
        assert table(out) == its_table
    points: dict[int, set[str]] = {}
    for row in open_store(store).read_rows().to_pylist():
        if row["purpose"] == "tuning":
            points.setdefault(row["trial"], set()).add(row["point"])
    assert {number: len(each) for number, each in points.items()} == dict.fromkeys(range(TRIALS), 1)
    assert set(trials(store).values()) == {1}
    ours, theirs = attempts(store), attempts(expected)
    assert set(ours) == set(theirs)
    return ours - theirs


def test_two_share_one_search(store_url: str, alone: tuple[Path, str, list[str]]) -> None:
    with _drivers(alone[0], store_url, 2) as several:
        outs = [each.ends(0).out for each in several]
    assert check(store_url, alone, outs) == Counter()


@pytest.mark.parametrize("count", [2, 4])
def test_some_are_killed(count: int, store_url: str, alone: tuple[Path, str, list[str]]) -> None:
    """kill -9 of drivers at random, all but one of which are started again."""
    drawn, kills = random.Random(count), count - 1
    with _drivers(alone[0], store_url, count) as several:
        for kill in range(kills):
            wanted = sum(trials(store_url).values()) + drawn.randrange(3, 8)
            some = several[drawn.randrange(len(several))]
            some.until(_rows_are(wanted, store_url), f"there were {wanted} rows")
            some.kill()
            some.__exit__()
            several.remove(some)
            if kill > 0 or kills == 1:
                several.append(driver(alone[0], store_url))
        outs = [each.ends(0).out for each in several]
    # What a killed one was at, one seed of two trials, was run again.
    assert check(store_url, alone, outs).total() <= 2 * kills


def test_a_sweep_of_another_name_takes_what_it_wants(
    alone: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    """It wants fewer trials of the same study, on a store that has more: none is run."""
    _, finished, _ = alone
    shutil.copytree(finished, tmp_path / "store")
    store, file = str(tmp_path / "store"), tmp_path / "other.yaml"
    search = {**SWEEP["search"], "trials": 12}
    file.write_text(yaml.safe_dump({**SWEEP, "name": "other", "search": search}))
    with driver(file, store) as other:
        other.ends(0)
    found = open_store(store).read_rows().to_pylist()
    tuned = {
        name: {
            (row["trial"], row["seed"]): (row["point"], row["average_gap"], row["state"])
            for row in found
            if row["sweep"] == name and row["purpose"] == "tuning"
        }
        for name in ("shared", "other")
    }
    wanted = {key: value for key, value in tuned["shared"].items() if key[0] < 12}
    assert tuned["other"] == wanted
    own = [row for row in found if row["sweep"] == "other"]
    hours = [row["accelerator_hours_unlearn"] for row in own if row["purpose"] == "tuning"]
    assert set(hours) == {0.0}
    best = min(
        (number for number in range(12) if len([k for k in wanted if k[0] == number]) == 3),
        key=lambda number: sum(wanted[number, seed][1] for seed in SEEDS),
    )
    assert {row["trial"] for row in own if row["purpose"] == "reporting"} == {best}


def _rows_are(wanted: int, store: str) -> Callable[[], bool]:
    return lambda: sum(trials(store).values()) >= wanted


@contextlib.contextmanager
def _drivers(file: Path, store: str, count: int) -> Iterator[list[Driver]]:
    several = [driver(file, store) for _ in range(count)]
    try:
        yield several
    finally:
        for each in several:
            each.__exit__()
