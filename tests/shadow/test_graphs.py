"""Iterations that are replayed as a CUDA graph train as those that are launched one by one."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from tests.shadow.conftest import Shadow
from unlearn_ray.core.recipe import Optimizer
from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import Family
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.base import Method

TRAININGS = [
    *(f"family {family}" for family in parts(Family)),
    *(f"optimizer {optimizer}" for optimizer in get_args(Optimizer)),
]
_ALL = "iterations are launched operation by operation, not as one CUDA graph: each"
_ONE = "an iteration is launched operation by operation: it"
LAST_BATCH = f"{_ONE} has a batch of another size"
# What else methods launch, and why.
LAUNCHED = {
    "adversarial": f"{_ALL} seeds generators of the device",
    # One more or one less of the images that it adds.
    "unsir": f"{_ONE} takes tensors of other shapes than the one that is replayed",
}
each_training = pytest.mark.parametrize("case", TRAININGS)


@each_training
def test_the_weights_are_those_of_launched_iterations(shadow: Shadow, case: str) -> None:
    """Two epochs of two learning rates, each with an incomplete last batch."""
    found = shadow("graphs")[case]
    assert "error" not in found, found["error"]
    assert found["reasons"] == [LAST_BATCH]
    # Of twelve iterations three warm up, and two have the incomplete batches.
    assert found["replays"] == 7
    # BYOL's momentum changes with every iteration, and is rounded to float32 on the device.
    assert found["same"] or (case == "family byol" and found["apart"] < 1e-5)


@each_training
def test_a_resumed_run_ends_with_the_same_weights(shadow: Shadow, case: str) -> None:
    assert shadow("graphs")[case]["resumed"] is True


@each_training
def test_an_iteration_is_two_launches_and_a_copy(shadow: Shadow, case: str) -> None:
    """The replay, and the sum of its range of the loss curve; nothing waits."""
    found = shadow("graphs")[case]
    assert found["waits"] == []
    assert found["counts"]["launch"] == 2
    assert found["counts"]["pinned"] == 1


def test_a_frozen_learning_rate_shows(shadow: Shadow) -> None:
    found = shadow("graphs")["a frozen learning rate"]
    assert found["replays"] == 7
    assert found["apart"] > 0.1


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        ("drawn", ""),
        ("scheduled", ""),
        ("drawn on the host", "draws from Batch.generator other than by Batch.drawn"),
        ("scheduled on the host", "reads how far the run is other than by Batch.scheduled"),
        ("copied", "copies tensors to the device other than by Batch.drawn"),
        ("of another state", "depends on more than its batch's generator and progress"),
    ],
)
def test_what_a_replay_would_freeze_is_launched(shadow: Shadow, loss: str, reason: str) -> None:
    found = shadow("graphs")[f"loss {loss}"]
    assert "error" not in found, found["error"]
    assert found["same"] or loss == "of another state"
    assert found["replays"] == (0 if reason else 5)
    assert [told for told in found["reasons"] if not told.endswith(reason)] == []
    assert bool(found["reasons"]) == bool(reason)


@pytest.mark.parametrize("features", get_args(get_type_hints(Probe)["features"]))
def test_probes_are_those_of_launched_updates(shadow: Shadow, features: str) -> None:
    found = shadow("graphs")[f"probe {features}"]
    assert "error" not in found, found["error"]
    assert found["same"]
    assert found["replays"] > 0


@pytest.mark.parametrize("method", parts(Method))
def test_methods_unlearn_as_without(shadow: Shadow, method: str) -> None:
    found = shadow("graphs")[f"method {method}"]
    assert "error" not in found, found["error"]
    assert found["same"]
    others = {told for told in found["reasons"] if told != LAST_BATCH}
    assert others == ({LAUNCHED[method]} if method in LAUNCHED else set())
    assert (found["replays"] > 0) == (found["iterations"] > 0 and method != "adversarial")
