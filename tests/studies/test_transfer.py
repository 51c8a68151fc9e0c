"""A search starts from what was best elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.simulation import Driver, Ran, alone, history, simulated, together
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Point, Search, Start, Study, Sweep
from unlearn_ray.config.sweep_text import sweep_text
from unlearn_ray.core.errors import ConfigError, StoreError
from unlearn_ray.core.ranges import Range
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.history import winner
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_key
from unlearn_ray.studies.transfer import with_starts

SEARCH = Search(trials=12, startup=4)
GOOD: Point = {"learning_rate": 0.0002, "weight_decay": 0.3, "schedule": "cosine"}
BAD: Point = {"learning_rate": 0.1, "weight_decay": 1.0, "schedule": "constant"}


def starting(sweep: Sweep, *sources: Start) -> Sweep:
    return with_starts(replace(sweep, search=replace(sweep.search, start_from=sources)))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return simulated(tmp_path, SEARCH)


@pytest.fixture
def elsewhere(tmp_path: Path, sweep: Sweep) -> Store:
    """A store on which the study has been searched."""
    store = open_store(str(tmp_path / "elsewhere"))
    alone(sweep, store)
    return store


def points(sweep: Sweep) -> list[dict[str, Any]]:
    return [*sweep.starts(sweep.studies[0])]


def test_the_first_trials_take_the_points_in_their_order(sweep: Sweep, tmp_path: Path) -> None:
    started = starting(sweep, {"finetune": BAD}, {"finetune": GOOD})
    trials = alone(started, open_store(str(tmp_path / "store")))
    assert [trial.point for trial in trials[:2]] == [BAD, GOOD]
    assert len(trials) == SEARCH.trials
    assert winner(trials) != trials[0]


def test_drivers_that_share_a_search_start_it_together(sweep: Sweep, tmp_path: Path) -> None:
    started = starting(sweep, {"finetune": BAD}, {"finetune": GOOD})
    expected = alone(started, open_store(str(tmp_path / "alone")))
    url, ran = str(tmp_path / "store"), Ran()
    several = [Driver(started, url, ran, seed=number, seconds=0.05) for number in range(3)]
    together(several, lambda drivers: drivers[0].killed.set())
    assert history(started, open_store(url)) == expected


def test_more_points_than_trials_are_too_many(sweep: Sweep, tmp_path: Path) -> None:
    each: list[Point] = [{**GOOD, "weight_decay": n / 10} for n in range(9)]
    few = starting(replace(sweep, search=Search(trials=3)), *({"finetune": one} for one in each))
    trials = alone(few, open_store(str(tmp_path / "store")))
    assert [trial.point for trial in trials] == each[:3]


def test_the_winner_of_a_store_is_where_another_search_starts(
    sweep: Sweep, elsewhere: Store
) -> None:
    best = winner(history(sweep, elsewhere))
    assert best is not None
    started = starting(sweep, f"{elsewhere.url}/simulated")
    assert points(started) == [best.point]
    assert started == starting(sweep, {"finetune": best.point})
    assert with_starts(started) is started


def test_only_what_the_points_are_is_in_the_identity(sweep: Sweep, elsewhere: Store) -> None:
    def key(of: Sweep) -> str:
        return study_key(of, of.studies[0])

    named = starting(sweep, f"{elsewhere.url}/simulated")
    (point,) = points(named)
    assert key(named) == key(starting(sweep, {"finetune": point}, {"finetune": point}))
    assert len({key(sweep), key(named), key(starting(sweep, {"finetune": GOOD}))}) == 3
    unused = Study(sweep.studies[0].method, {"epochs": 1}, {}, "unused")
    assert key(replace(named, studies=(unused,))) == key(replace(sweep, studies=(unused,)))


def test_a_file_gives_its_fixed_values_in_its_order(sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(
        "methods:\n"
        "  a: {finetune: {learning_rate: 0.01, weight_decay: 0.5, schedule: cosine, epochs: 9}}\n"
        "  finetune: {learning_rate: 0.001}\n"
        "  b: {finetune: {learning_rate: 0.5}}\n"
        "  c: {finetune: {learning_rate: 0.01, weight_decay: 0.5, schedule: cosine}}\n"
        "  d: {finetune: {learning_rate: {uniform: [0.1, 1]}}}\n"
        "  neggrad: {learning_rate: 0.01}\n"
    )
    started = starting(sweep, str(file))
    assert points(started) == [
        {"learning_rate": 0.01, "weight_decay": 0.5, "schedule": "cosine"},
        {"learning_rate": 0.001, "weight_decay": 0.0005, "schedule": "constant"},
    ]  # b is outside of the space, c is a again, d is searched


def test_points_have_the_fields_that_are_searched_where_they_lie(
    sweep: Sweep, tmp_path: Path
) -> None:
    conditional = Range("uniform", 0.0, 1.0, when={"schedule": ("cosine",)})
    (study,) = sweep.studies
    space = {**study.space, "weight_decay": conditional}
    changed = replace(sweep, studies=(replace(study, space=space),))
    file = tmp_path / "best.yaml"
    file.write_text("methods: {finetune: {learning_rate: 0.01, schedule: constant}}\n")
    started = starting(changed, str(file))
    assert points(started) == [{"learning_rate": 0.01, "schedule": "constant"}]
    trials = alone_conditional(started, tmp_path)
    assert trials[0] == {"learning_rate": 0.01, "schedule": "constant"}
    assert any("weight_decay" in point for point in trials)


def alone_conditional(sweep: Sweep, folder: Path) -> list[dict[str, Any]]:
    from tests.scheduling import simulation

    def formula(point: dict[str, Any], seed: int) -> float:
        return float(point.get("weight_decay", 0.5)) + seed / 100

    before = simulation.formula
    simulation.formula = formula
    try:
        trials = simulation.alone(sweep, open_store(str(folder / "conditional")))
    finally:
        simulation.formula = before
    assert {trial.number for trial in trials} == set(range(SEARCH.trials))
    return [trial.point for trial in trials]


def test_what_gives_no_point_is_refused(sweep: Sweep, elsewhere: Store, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("methods: {neggrad: {epochs: 1}}\n")
    for source, reason in (
        (str(file), "none of its configurations lies in the space"),
        (str(tmp_path / "none.yaml"), "no such file"),
        ("simulated", "neither a .yaml file nor a sweep on a store"),
        (f"{elsewhere.url}/simulatd", "no trials of a sweep simulatd; did you mean simulated?"),
    ):
        with pytest.raises(ConfigError, match=r"search.start_from = ") as caught:
            starting(sweep, source)
        assert reason in str(caught.value)
    with pytest.raises(StoreError):
        starting(sweep, f"{tmp_path}/nowhere/simulated")


FILE = """\
dataset: {digits: {image_size: 8}}
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 8}}
family: supervised
methods:
  finetune: {epochs: 1, learning_rate: {log_uniform: [1e-4, 0.1]}}
  fixed: {finetune: {epochs: 1}}
search: {trials: 5, start_from: STARTS}
seeds: {tuning: [0], reporting: [1]}
"""


def test_a_sweep_file_starts_from_points_and_files(tmp_path: Path) -> None:
    file, best = tmp_path / "x.yaml", tmp_path / "best.yaml"
    best.write_text("methods: {finetune: {learning_rate: 0.02}}\n")
    file.write_text(FILE.replace("STARTS", f"[{{finetune: {{learning_rate: 0.01}}}}, {best}]"))
    plan = make_plan(load_sweep(file), open_store(str(tmp_path / "store")))
    searched = plan.sweep.studies[0]
    assert plan.sweep.starts(searched) == ({"learning_rate": 0.01}, {"learning_rate": 0.02})
    assert plan.sweep.starts(plan.sweep.studies[1]) == ()
    assert "    the first 2 trials from search.start_from\n" in plan_view(plan, "here")
    # What is kept of it needs the other file no longer.
    best.unlink()
    kept = tmp_path / "kept.yaml"
    kept.write_text(sweep_text(plan.sweep))
    again = load_sweep(kept)
    assert replace(again, name="x") == plan.sweep
    assert study_key(again, again.studies[0]) == plan.studies[0].key


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("{finetun: {learning_rate: 0.01}}", "no study of this name; did you mean finetune?"),
        (
            "{finetune: {learning_rate: 3}}",
            "not a point of the study, which searches learning_rate",
        ),
        ("{finetune: {epochs: 1}}", "not a point of the study"),
        ("{finetune: {}}", "not a point of the study"),
        ("{fixed: {learning_rate: 0.1}}", "not a point of the study, which searches nothing"),
        ("3", "string"),
    ],
)
def test_points_outside_of_a_space_are_refused_with_their_line(
    start: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(FILE.replace("STARTS", f"[{start}]"))
    with pytest.raises(ConfigError, match=r"x.yaml:8: search.start_from") as caught:
        load_sweep(file)
    assert reason in str(caught.value)
