"""What is said of the machine, and how computing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from unlearn_ray.core.errors import MachineError
from unlearn_ray.core.precision import rounds_to_tf32
from unlearn_ray.train.compute import Compute, Machine, Stopwatch

CPU = Compute(torch.device("cpu"))
PROGRAM = """
import json, sys
from unlearn_ray.train.compute import Compute
print(json.dumps(Compute.cpu(int(sys.argv[1])).machine.facts()))
"""


def machine(threads: int, **environment: str) -> Machine:
    """As a process of its own sees it, whatever this one was told of kernels."""
    told = {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR"}
    inherited = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(threads)],
        env={**inherited, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Machine(**json.loads(done.stdout))


def test_machines_that_round_differently_are_named_differently() -> None:
    plain = machine(1, ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41")
    assert plain.kernels.split()[0] == "DEFAULT"
    assert "ONEDNN_MAX_CPU_ISA=SSE41" in plain.kernels.split()
    assert plain.device.startswith("cpu: ")
    assert len(plain.device) > len("cpu: ")
    two = machine(2, ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41")
    assert (plain.threads, two.threads) == (1, 2)
    assert str(plain) == f"{plain.device}, {plain.kernels}, 1 thread"
    assert str(two).endswith(", 2 threads")
    limited = machine(1, ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE")
    assert limited.kernels != plain.kernels


def test_waiting_is_not_computing() -> None:
    """Wall time tells what else a machine does; CPU time, what was computed."""
    watch = Stopwatch(CPU)
    with watch.running():
        time.sleep(0.5)
    assert watch.total() < 0.25
    began = time.process_time()
    with watch.running():
        while time.process_time() - began < 0.3:
            torch.ones(100, 100) @ torch.ones(100, 100)
    assert watch.total() == pytest.approx(0.3, abs=0.25)


def test_the_device_is_the_requested_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray may leave GPUs visible to a worker that requested none: they belong to others."""
    with pytest.raises(MachineError, match="finds no GPU, and one was requested"):
        Compute.gpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert Compute.cpu().device == torch.device("cpu")
    assert Compute.gpu().device == torch.device("cuda", 0)
    Compute.cpu()  # Its settings are those of this process.


def settings() -> dict[str, object]:
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tuned": torch.backends.cudnn.benchmark,
        "tf32": rounds_to_tf32(),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpu_repeats_its_digits_if_it_is_told_to(
    deterministic: bool, graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H200")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        compute = Compute.gpu(deterministic=deterministic, graphs=graphs)
        assert settings() == {
            "deterministic": deterministic,
            "tuned": not deterministic,
            "tf32": (False, False),
            "cublas": ":4096:8" if deterministic else None,
        }
        kernels = "sm_90" + " deterministic" * deterministic + " graphs" * graphs
        assert compute.machine == Machine("cuda: H200", 1, kernels)
    finally:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch.backends.cudnn.benchmark = False
        Compute.cpu()


@pytest.mark.gpu
def test_a_gpu_is_named_and_timed_by_its_own_clock() -> None:
    compute = Compute.gpu()
    assert compute.machine.device == f"cuda: {torch.cuda.get_device_name()}"
    assert compute.machine.kernels.startswith("sm_")
    watch = Stopwatch(compute)
    with watch.running():
        time.sleep(0.2)
        left = torch.rand(2048, 2048, device="cuda")
        for _ in range(10):
            left = left @ left
    assert watch.total() > 0
