"""Memory, kinds of GPUs and labels: what is asked of Ray is what it is counted to hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.sweep_schema import Resources
from unlearn_ray.core.errors import BadInput, ConfigError
from unlearn_ray.scheduling.capacity import Capacity, check_fits
from unlearn_ray.scheduling.placement import bundle, selectors, task_options
from unlearn_ray.scheduling.studies import own_resources
from unlearn_ray.scheduling.training import _scaling

GB = 10**9
PLACED = [
    Resources(memory=GB),
    Resources(accelerator_type="T4"),
    Resources(gpu=1, accelerator_type="T4"),
    Resources(labels={"tier": "fast"}),
    Resources(labels={"tier": "in(slow, fast)"}),
    Resources(labels={"tier": "!slow"}),
    Resources(labels={"tier": "!in(slow, other)"}),
    Resources(labels={"missing": "!slow"}),
]
NEVER = [
    Resources(memory=3 * GB),
    Resources(accelerator_type="H100"),
    Resources(gpu=2, accelerator_type="T4"),
    Resources(labels={"tier": "slow"}),
    Resources(labels={"tier": "!fast"}),
    Resources(labels={"tier": "in(slow, other)"}),
    Resources(labels={"tier": "!in(slow, fast)"}),
    Resources(labels={"missing": "fast"}),
    Resources(labels={"tier": "fast", "missing": "fast"}),
]


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    ray.init(
        "local", num_cpus=2, num_gpus=1, resources={"accelerator_type:T4": 1},
        labels={"tier": "fast"}, _memory=2 * GB, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=80_000_000,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def is_placed(resources: Resources, seconds: float) -> bool:
    group = ray.util.placement_group([bundle(resources)], **selectors(resources, 1))
    try:
        return bool(group.wait(seconds))
    finally:
        ray.util.remove_placement_group(group)


@ray.remote  # type: ignore[untyped-decorator]
def _done() -> bool:
    return True


def test_what_counts_as_placed_is_placed(one_node: None) -> None:
    for resources in PLACED:
        assert Capacity.now().groups(resources) >= 1, resources
        assert is_placed(resources, 60), resources
        options = task_options(resources, own_resources(resources))
        assert ray.get(_done.options(**options).remote(), timeout=120), resources


def test_what_does_not_is_not(one_node: None) -> None:
    for resources in NEVER:
        assert Capacity.now().groups(resources) == 0, resources
        assert not is_placed(resources, 0.2), resources
    with pytest.raises(BadInput, match="of type H100 each can never be placed"):
        check_fits(Resources(gpu=1, accelerator_type="H100"), "trial", joining_seconds=0)


def test_memory_limits_how_many_run(one_node: None) -> None:
    assert Capacity.now().groups(Resources(cpu=0.1, memory=GB)) == 2


def test_trainings_ask_for_the_same() -> None:
    asked = Resources(gpu=1, memory=GB, accelerator_type="T4", labels={"tier": "fast"})
    scaling = _scaling(asked)
    assert scaling.resources_per_worker == {
        "CPU": 1, "GPU": 1, "memory": GB, "accelerator_type:T4": 0.001,
    }  # fmt: skip
    assert scaling.label_selector == {"tier": "fast"}
    plain = _scaling(Resources(gpu=0.0))
    assert (plain.resources_per_worker, plain.label_selector) == ({"CPU": 1}, None)


def test_in_a_sweep_file(tmp_path: Path) -> None:
    text = (
        "resources: {trial: {memory: 16000000000, accelerator_type: T4, "
        "labels: {ray.io/market-type: 'in(spot, on-demand)'}}}\n"
    )
    trial = tiny_sweep(tmp_path, SWEEP + text).resources.trial
    assert trial.memory == 16 * GB
    assert f"{trial}" == (
        "1 worker of 1 CPU of type T4 and 16 GB of memory each on nodes with "
        "ray.io/market-type: in(spot, on-demand)"
    )


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("memory: 0", "must be greater than 0"),
        ("memory: 16GB", "must be a valid integer"),
        ("accelerator_type: 'NVIDIA T4'", "must be a name"),
        ("accelerator_type: ''", "must be a name"),
        ("labels: [spot]", "must be an object|dictionary"),
        ("labels: {-tier: fast}", "is not the name of a label"),
        ("labels: {tier: in()}", "must be a value"),
        ("labels: {tier: '!!fast'}", "must be a value"),
        ("labels: {tier: 1}", "must be a valid string"),
    ],
)
def test_what_ray_would_refuse_is_refused_while_planning(
    tmp_path: Path, field: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        tiny_sweep(tmp_path, SWEEP + f"resources:\n  trial: {{{field}}}\n")
    assert "tiny.yaml:" in f"{refused.value}"
