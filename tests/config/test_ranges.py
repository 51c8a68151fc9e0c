"""Kinds of ranges: steps, grids, whole numbers on a logarithmic scale, conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.config.fields import schema_fields
from unlearn_ray.config.ranges import read_range
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.config.yaml_text import in_flow
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.registry import find
from unlearn_ray.methods.base import Method
from unlearn_ray.studies.study import study_identity

SCRUB = find(Method, "scrub")


def read(text: str, hint: Any = float) -> Range:
    return read_range(parse(text, "x.yaml", "methods.scrub.f"), hint, schema_fields(SCRUB))


def test_every_kind_is_read_as_written() -> None:
    assert read("{log_int: [1, 100]}", int) == Range("log_int", 1, 100)
    assert read("{uniform: [0, 1], step: 0.1}") == Range("uniform", 0.0, 1.0, step=0.1)
    assert read("{int: [1, 9], step: 2}", int) == Range("int", 1, 9, step=2)
    assert read("{grid: [0.5, 1, 2]}") == Range("grid", choices=(0.5, 1.0, 2.0))
    conditional = read("{when: {rewind: true, msteps: [1, 2]}, uniform: [0, 1], otherwise: 0.5}")
    assert conditional.when == {"rewind": (True,), "msteps": (1, 2)}
    assert conditional.otherwise == (0.5,)


REFUSED = {
    "{log_int: [0, 9]}": "a logarithmic range reaches zero; raise the lower end, or use int",
    "{int: [1, 9], step: 3}": "the range is not a whole number of steps; end at 7 or 10",
    "{int: [1, 9], step: 20}": "not a whole number of steps",
    "{int: [1, 9], step: 0}": "must be greater than 0",
    "{int: [1, 9], step: 1.5}": "integer",
    "{log_int: [1, 9], step: 2}": "log_int has no steps",
    "{choice: [1, 9], step: 2}": "choice has no steps",
    "{grid: [2, 1]}": "a grid is in order",
    "{grid: [1]}": "a single choice leaves nothing to search",
    "{int: [1, 9], when: {rewnd: true}}": "unknown field; did you mean rewind?",
    "{int: [1, 9], when: {}}": "no condition",
    "{int: [1, 9], when: {rewind: []}}": "no value",
    "{int: [1, 9], otherwise: 3}": "the field is always searched",
    "{step: 2}": "a range has exactly one kind",
    "{int: [1, 9], stop: 2}": "a range has exactly one kind",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, int)
    assert REFUSED[text] in str(caught.value)


def test_a_step_that_is_too_fine_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 1,000,000 steps"):
        read("{uniform: [0, 1], step: 1e-9}")


def test_values_on_a_grid_of_decimals_are_those_decimals() -> None:
    stepped = Range("uniform", 0.0, 1.0, step=0.1)
    assert stepped.count == 11
    assert [stepped.value(n) for n in range(11)] == [
        *(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    assert all(stepped.index(stepped.value(n)) == n for n in range(11))
    assert stepped.holds(0.3)
    assert not stepped.holds(0.35)
    assert not stepped.holds(1.1)


ends = st.integers(1, 10**6)
numbers = st.floats(1e-6, 1e6)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[Range, Any]:
    """A range, and the type of a field that takes it."""
    kind = draw(st.sampled_from(("uniform", "log_uniform", "int", "log_int", "choice", "grid")))
    when = draw(st.sampled_from(({}, {"rewind": (True,)}, {"msteps": (1, 2)})))
    if kind in ("choice", "grid"):
        values = draw(st.lists(numbers, min_size=2, max_size=5, unique=True))
        made = Range(kind, choices=tuple(sorted(values)), when=when)  # type: ignore[arg-type]
    elif kind in ("int", "log_int"):
        low, count, step = draw(ends), draw(st.integers(1, 50)), draw(st.integers(1, 9))
        stepped = step if kind == "int" and step > 1 else None
        high = low + count * (stepped or 1)
        made = Range(kind, low, high, step=stepped, when=when)  # type: ignore[arg-type]
    else:
        lower, upper = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
        made = Range(kind, lower, upper, when=when)  # type: ignore[arg-type]
    return made, int if kind in ("int", "log_int") else float


@given(ranges())
def test_a_range_is_read_back_as_it_was_written(drawn: tuple[Range, Any]) -> None:
    made, hint = drawn
    assert read(in_flow(made.as_mapping()), hint) == made
    assert all(made.holds(end) for end in made.ends)


def test_what_a_range_does_not_use_is_not_in_its_identity() -> None:
    """Studies of files from before there were steps and conditions are still theirs."""
    plain = {"kind": "int", "low": 1, "high": 9, "choices": ()}
    assert Range("int", 1, 9).identity() == plain
    assert Range("int", 1, 9, step=2).identity() == {**plain, "step": 2}
    when = {"rewind": (True,)}
    assert Range("int", 1, 9, when=when).identity() == {**plain, "when": when}


HEAD = """\
dataset: {digits: {image_size: 8}}
forget_set: {classes: {classes: ["7"]}}
model: {resnet8: {width: 8}}
family: supervised
methods:
"""


def load(folder: Path, study: str) -> Sweep:
    path = folder / "x.yaml"
    path.write_text(f"{HEAD}  scrub: {study}\n")
    return load_sweep(path)


def test_a_field_is_searched_only_where_its_condition_holds(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        "{rewind: {choice: [true, false]}, epochs: 5,"
        " msteps: {when: {rewind: true}, int: [1, 5], otherwise: 4}}",
    )
    (study,) = sweep.studies
    assert study.searched({"rewind": True, "msteps": 2}) == {"rewind": True, "msteps": 2}
    assert study.searched({"rewind": False, "msteps": 2}) == {"rewind": False}
    assert _msteps(study, {"rewind": True, "msteps": 2}) == 2
    assert _msteps(study, {"rewind": False}) == 4
    assert [*study.corners()] == [
        {"rewind": True, "msteps": 1},
        {"rewind": False},
        {"rewind": True, "msteps": 1},
        {"rewind": True, "msteps": 5},
    ]
    space = study_identity(sweep, study)["space"]
    assert space["msteps"]["when"] == {"rewind": [True]}


def _msteps(study: Study, point: dict[str, Any]) -> Any:
    return study.at(point).msteps  # type: ignore[attr-defined]


def test_a_condition_that_always_holds_is_none(tmp_path: Path) -> None:
    searched = "msteps: {when: {rewind: true}, int: [1, 3]}"
    (study,) = load(tmp_path, f"{{rewind: true, {searched}}}").studies
    assert study.space == {"msteps": Range("int", 1, 3)}


NEVER = {
    "{msteps: {when: {rewind: true}, int: [1, 3]}}": "never searched: rewind is False",
    "{rewind: false, msteps: {when: {rewind: true}, int: [1, 3]}}": "never searched",
    "{epochs: {int: [1, 5]}, msteps: {when: {epochs: 2}, int: [1, 3]}}": "epochs is no choice",
    "{epochs: {choice: [1, 5]}, msteps: {when: {epochs: 2}, int: [1, 3]}}": "epochs is never 2",
    "{msteps: {when: {msteps: 2}, choice: [1, 2]}}": "msteps is no choice that is always",
}


@pytest.mark.parametrize("study", NEVER)
def test_a_condition_that_decides_nothing_is_refused(study: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x.yaml:6: methods.scrub.msteps.when") as caught:
        load(tmp_path, study)
    assert NEVER[study] in str(caught.value)
