"""Keys: stable, canonical, and refused where they could not be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.cli.results.diff import differences
from unlearn_ray.core.keys import canonical, content_key, plain, stable_seed
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Part
from unlearn_ray.storage.store import Record

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_canonical_json_says_the_value(value: Any) -> None:
    assert json.loads(canonical(value)) == plain(value)


@given(st.dictionaries(st.text(), values, min_size=2))
def test_the_order_of_fields_plays_no_part(value: Any) -> None:
    backwards = dict(reversed(value.items()))
    assert content_key(value) == content_key(backwards)


@given(values, values)
def test_other_values_have_other_keys(one: Any, other: Any) -> None:
    assert (content_key(one) == content_key(other)) == (canonical(one) == canonical(other))


def test_a_whole_float_is_the_integer_that_a_file_may_say() -> None:
    assert content_key({"epochs": 1}) == content_key({"epochs": 1.0})
    assert content_key({"flag": True}) != content_key({"flag": 1})


def test_defaults_written_out_change_nothing() -> None:
    assert content_key(Recipe()) == content_key(Recipe(momentum=0.9, epochs=800))
    assert content_key(Recipe()) != content_key(Recipe(momentum=0.91))


def test_a_key_is_known_for_good() -> None:
    # A changed key orphans every store: raise a step's revision instead.
    assert content_key({"kind": "pretrain", "seed": 0}) == "39280df3895e9bfa"


@dataclass(frozen=True)
class Thing(Part):
    """Says of itself only how heavy it is."""

    name: ClassVar[str] = "thing"

    weight: float = 1.5

    def identity(self) -> dict[str, Any]:
        return {"weight": self.weight}


def test_revision_and_code_of_a_part_are_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"weight": 1.5, "name": "thing", "revision": 1}
    assert plain([{"part": Thing()}]) == [{"part": first}]
    before = content_key(Thing())
    monkeypatch.setattr(Thing, "revision", 2)
    assert plain(Thing()) == {**first, "revision": 2}
    assert content_key(Thing()) != before
    monkeypatch.setattr(Thing, "code", "0123456789abcdef")
    assert plain(Thing()) == {**first, "revision": 2, "code": "0123456789abcdef"}
    assert Thing.code_identity() == {"name": "thing", "revision": 2, "code": "0123456789abcdef"}


def test_what_differs_in_two_steps_says_revision_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def record() -> Record:
        return Record(
            kind="unlearn", key="0", config=plain({"method": Thing()}), inputs={}, files={},
            result={}, seconds=1.0, created="", versions={}, host="", sweep="", row="", workers=1,
            accelerators=1.0, earlier_seconds=0.0,
        )  # fmt: skip

    before = record()
    monkeypatch.setattr(Thing, "revision", 2)
    monkeypatch.setattr(Thing, "code", "0123456789abcdef")
    assert list(differences(before, record())) == [
        ("method.revision", "1", "2"),
        ("method.code", None, '"0123456789abcdef"'),
    ]


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, object(), torch.zeros(1), {1: 2}, b"bytes", len],
    ids=repr,
)
def test_unstable_values_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="has no canonical form"):
        content_key({"field": value})


def test_numpy_scalars_are_their_values() -> None:
    assert canonical([np.float64(0.5), np.int64(3)]) == "[0.5,3]"


def test_seeds_are_the_same_in_every_process() -> None:
    code = "from unlearn_ray.core.keys import stable_seed; print(stable_seed('order', 3, 7))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_seed("order", 3, 7)


@given(st.lists(st.integers() | st.text(), min_size=1), st.lists(st.integers() | st.text()))
def test_seeds_differ_with_their_words(one: Any, other: Any) -> None:
    seed = stable_seed(*one)
    assert 0 <= seed < 2**63
    if one != other:
        assert seed != stable_seed(*other)
