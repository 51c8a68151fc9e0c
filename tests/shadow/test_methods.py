"""Every method unlearns on a GPU as on the CPU, and none of its iterations waits for the GPU."""

from __future__ import annotations

import pytest

from tests.shadow.conftest import Shadow
from unlearn_ray.core.registry import parts
from unlearn_ray.methods.base import Method

each_method = pytest.mark.parametrize("method", parts(Method))


@each_method
def test_the_weights_are_those_of_the_cpu_but_for_rounding(shadow: Shadow, method: str) -> None:
    found = shadow("methods")[method]
    assert "error" not in found, found["error"]
    assert found["strayed"] < 1e-2


@each_method
def test_no_iteration_waits_for_the_gpu(shadow: Shadow, method: str) -> None:
    found = shadow("methods")[method]
    assert found.get("waits", []) == []


@each_method
def test_a_resumed_run_ends_with_the_same_weights(shadow: Shadow, method: str) -> None:
    found = shadow("methods")[method]
    assert found["resumed"] is (True if found["iterations"] > 1 else None)
