"""What only a real GPU can show; `python -m benchmarks.gpu tests` runs these."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.correctness import correctness
from benchmarks.gpu.graphs import graphs
from benchmarks.gpu.packing import collectives
from benchmarks.gpu.training import resumption
from benchmarks.gpu.unlearning import evaluation
from unlearn_ray.train.compute import Compute

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(Compute.gpu(), small=True)


def test_every_family_and_method_computes_as_float64_does(bench: Bench) -> None:
    assert correctness(bench)["beyond"] == []


def test_replayed_iterations_train_as_launched_ones(bench: Bench) -> None:
    assert graphs(bench)["beyond"] == []


def test_metrics_are_those_of_a_cpu(bench: Bench) -> None:
    # One sample of the smallest set may fall on the other side of a decision.
    apart = evaluation(bench)["apart_from_cpu"]
    most = 100 / min(map(len, (bench.split.forget, bench.split.validation)))
    assert {name for name, value in apart.items() if value > 1.01 * most} == set()


def test_a_resumed_run_ends_near_an_uninterrupted_one(bench: Bench) -> None:
    for name, figures in resumption(bench).items():
        assert figures["resumed"] <= max(1e-3, 10 * figures["second_run"]), name


def test_nccl_with_one_process_changes_nothing(bench: Bench) -> None:
    assert collectives(bench) == {"backend": "nccl", "as_without": True}


def test_the_device_is_named_and_timed(bench: Bench) -> None:
    machine = bench.compute.machine
    assert machine.device == f"cuda: {torch.cuda.get_device_name()}"
    assert machine.threads == 1
    assert bench.peak_bytes(lambda: torch.zeros(1 << 20, device=bench.compute.device)) >= 4 << 20
