"""Every family trains on a GPU as on the CPU, within its budget, and never waits for the GPU."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from tests.shadow.budgets import spent
from tests.shadow.conftest import Shadow
from unlearn_ray.core.recipe import Optimizer
from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import Family

FAMILIES = tuple(parts(Family))
OPTIMIZERS = tuple(f"supervised by {optimizer}" for optimizer in get_args(Optimizer))
each_case = pytest.mark.parametrize("case", [*FAMILIES, *OPTIMIZERS])


@each_case
def test_the_weights_are_those_of_the_cpu_but_for_rounding(shadow: Shadow, case: str) -> None:
    found = shadow("families")[case]
    assert "error" not in found, found["error"]
    assert found["strayed"] < 1e-2


@each_case
def test_no_iteration_waits_for_the_gpu(shadow: Shadow, case: str) -> None:
    found = shadow("families")[case]
    assert found["waits"] == []
    assert math.isfinite(found["loss"])


@each_case
def test_a_resumed_run_ends_with_the_same_weights(shadow: Shadow, case: str) -> None:
    assert shadow("families")[case]["resumed"] is True


@each_case
def test_an_iteration_keeps_within_its_budget(shadow: Shadow, case: str) -> None:
    found = shadow("families")[case]
    assert not spent(case, found["counts"], found["launching"])
