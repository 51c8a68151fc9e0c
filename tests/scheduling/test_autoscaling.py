"""Ray's autoscaler with its fake node provider: a head alone grows for a sweep, and shrinks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.nodes import OPEN, Nodes, connected, free_port
from tests.scheduling.sweeps import Driver, rows, table, write_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# The fake provider's own names of a head and of its type.
HEAD, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"
MOST = 3
SHRINK_SECONDS = 180
_LISTS = (
    *("setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("initialization_commands", "head_start_ray_commands", "worker_start_ray_commands"),
    *("cluster_synced_files", "rsync_exclude", "rsync_filter"),
)


def configuration(address: str, gpus: int) -> dict[str, Any]:
    """What `ray up` would write on the head: no node but it, and up to MOST small workers."""
    provider = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    return {
        "cluster_name": "fake",
        "max_workers": MOST,
        "upscaling_speed": 10,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": provider,
            "launch_multiple": True,
            "head_node_id": HEAD,
            "gcs_address": address,
        },
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1} | ({"GPU": gpus} if gpus else {}),
                "node_config": {},
                "min_workers": 0,
                "max_workers": MOST,
            },
        },
        "head_node_type": HEAD_TYPE,
        **{name: [] for name in _LISTS},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "docker": {},
        "auth": {},
    }


@pytest.fixture
def gpus() -> int:
    """Of each worker."""
    return 0


@pytest.fixture
def head(tmp_path: Path, gpus: int) -> Iterator[Nodes]:
    """A head that runs no work itself, and an autoscaler."""
    port, file = free_port(), tmp_path / "autoscaling.json"
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    }
    file.write_text(json.dumps(configuration(f"127.0.0.1:{port}", gpus)))
    arguments = (f"--autoscaling-config={file}",)
    with Nodes([0], environment=environment, head=arguments, port=port) as started:
        yield started


def alive() -> int:
    """Nodes that the cluster has now."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())


def test_a_head_alone_grows_for_a_sweep_and_shrinks_afterwards(
    tmp_path: Path, uninterrupted: Uninterrupted, head: Nodes, record_property: Any
) -> None:
    store = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    history: list[tuple[float, int]] = []

    def look() -> int:
        count = alive()
        if not history or history[-1][1] != count:
            history.append((time.monotonic() - begun, count))
        return count

    with connected(head):
        begun = time.monotonic()
        assert look() == 1
        address = ("--address", head.address)
        with Driver(uninterrupted.file, store, *address, environment=OPEN) as driver:
            while driver.process.poll() is None:
                look()
                time.sleep(0.2)
            driver.ends(0)
        assert rows(store) == uninterrupted.rows
        assert table(driver.out) == uninterrupted.table
        assert 1 < max(count for _, count in history) <= 1 + MOST
        ended = time.monotonic()
        while look() > 1:
            assert time.monotonic() - ended < SHRINK_SECONDS, history
            time.sleep(0.5)
    record_property("seconds and nodes", history)


def test_what_no_type_of_node_holds_is_refused(tmp_path: Path, head: Nodes) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    options = ("--address", head.address, "--set", "resources.training.cpu=2")
    with Driver(file, store, *options, environment=OPEN) as driver:
        driver.ends(2)
        assert "resources.training: 1 worker of 2 CPUs each can never be placed" in driver.err
        assert "its autoscaler can add no suitable one" in driver.err


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        (0, "the CPU (no GPU in the cluster)"),
        (1, "GPUs of nodes that the autoscaler adds in the cluster: 1 GPU for training, "),
    ],
)
def test_auto_knows_of_nodes_that_are_not_there_yet(
    tmp_path: Path, head: Nodes, gpus: int, said: str
) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    address = ("--address", head.address)
    plan = ("-m", "unlearn_ray", "plan")
    with Driver(file, store, *address, environment=OPEN, program=plan) as driver:
        driver.ends(0)
        assert f"Computes on: {said}" in driver.out
        assert "can never be placed" not in driver.err
