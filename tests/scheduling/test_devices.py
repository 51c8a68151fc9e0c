"""The GPUs of a machine and of a cluster, with a driver's tool that claims what it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from tests.tiny import tiny_sweep
from unlearn_ray.config.auto_gpu import Devices
from unlearn_ray.scheduling.cluster_devices import on_cluster
from unlearn_ray.scheduling.devices import Seen, on_this_machine, seen_here, together

TWO = "NVIDIA H200, 143771\nTesla T4, 15360\n"
H200, T4 = ("NVIDIA H200", 143771 * 2**20), ("Tesla T4", 15360 * 2**20)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named nvidia-smi that prints the file beside it."""
    told, program = tmp_path / "told", tmp_path / "nvidia-smi"
    told.write_text(TWO)
    program.write_text(f"#!/bin/sh\ncat {told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return told


@pytest.mark.parametrize(
    ("text", "models"),
    [
        (TWO, (H200, T4)),
        ("GPU, with a comma, 100\n", (("GPU, with a comma", 100 * 2**20),)),
        ("NVIDIA GB10, [N/A]\n", ()),
        ("No devices were found\n", ()),
        ("", ()),
    ],
)
def test_what_the_driver_says(tool: Path, text: str, models: tuple[tuple[str, int], ...]) -> None:
    tool.write_text(text)
    assert seen_here().models == models


def test_a_tool_that_fails_or_is_missing(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tool.parent / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H200, 1\nexit 9\n")
    assert seen_here().models == ()
    monkeypatch.setenv("PATH", str(tool.parent / "nowhere"))
    assert seen_here().models == ()


def test_a_build_for_cpus_uses_none(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    found = on_this_machine()
    assert found.gpus == 2
    assert not found.usable
    assert "is built for CPUs alone" in found.useless
    tool.write_text("")
    assert replace(on_this_machine(), nodes=()) == Devices("on this machine", 0.0)
    assert on_this_machine().nodes == ((os.cpu_count(), 0),)


def test_the_smallest_memory_counts_and_an_unknown_one_makes_all_unknown() -> None:
    one, other = Seen((H200,)), Seen((T4,))
    assert together("there", 2.0, [one, other]) == Devices(
        "there", 2.0, ("NVIDIA H200", "Tesla T4"), T4[1]
    )
    assert together("there", 2.0, [one, Seen(())]).memory is None
    assert together("there", 2.0, [one, Seen((T4,), "no")]).usable
    assert not together("there", 2.0, [Seen((H200,), "no"), Seen((T4,), "no")]).usable


@contextmanager
def _ray(gpus: int, *, built: bool) -> Iterator[None]:
    def built_for_gpus() -> None:  # pickled by value: workers do not find this module
        torch.version.cuda = "of a test"

    environment = {"worker_process_setup_hook": built_for_gpus} if built else {}
    ray.init(
        "local", num_cpus=2, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=80_000_000, runtime_env=environment,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def test_a_cluster_says_what_its_nodes_have(tool: Path, tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    with _ray(2, built=True):
        found = on_cluster(sweep, 0.0)
    assert found == Devices(
        "in the cluster", 2.0, ("NVIDIA H200", "Tesla T4"), T4[1], nodes=((2.0, 2.0),)
    )
    assert found.usable


def test_a_cluster_without_gpus(tmp_path: Path) -> None:
    with _ray(0, built=True):
        found = on_cluster(tiny_sweep(tmp_path), 0.0)
    assert found == Devices("in the cluster", 0.0, nodes=((2.0, 0.0),))
