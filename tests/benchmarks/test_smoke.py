"""Each benchmark runs, at a size that says nothing."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(__file__).parents[2]

# Arguments, and what is printed.
HERE = {
    "augmentation": ("--batch 4 --rounds 1", "unlearn_ray"),
    "evidence": ("--models 24 --samples 200", "klom "),
    "evaluation": ("--images 300 --rounds 1", "x the reference protocol"),
    "gradient_penalty": ("2 --rounds 1 --families supervised --penalties penalty", "penalty"),
    "looking": ("--rows 60 --records 3 --sweeps 1 --studies 2 --runs 2", "search_runs"),
    "pareto": ("--budget 12 --repetitions 1", "two objectives, nsga2"),
    "probe": ("--seeds 1 --copies 1 --epochs 2 --pretraining 1", "weights equal"),
    "training_step": ("8 --steps 2 --rounds 1", "batch 8: ours"),
    "window": ("--trials 3 --seeds 1", "regret"),
}
PARTS = {"large_store", "simulated"}
# In processes of their own.
APART = {"gpu": ("views graphs evaluation trial collectives --small", "as_without: True")}
RAY = {"trial_cost": ("--trials 8 --slow-trials 2", "a trial beside its training")}
# Several clusters, or several nodes.
SLOW = {
    "drivers": ("--drivers 2 --trials 2 --seconds 0", "2 drivers:"),
    "processor_time": ("--references 4", "RayTrainWorker"),
    "scale": ("--trials 4 --nodes 1 --studies 1 --seconds 0 --told 10", "more than plain Tune"),
}
GPU_SECTIONS = "correctness training resumption deterministic packing peers tests --small"


def test_every_benchmark_is_tried() -> None:
    modules = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    assert modules == HERE.keys() | APART.keys() | RAY.keys() | SLOW.keys() | PARTS


@pytest.mark.parametrize("name", HERE)
def test_it_measures(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = HERE[name]
    importlib.import_module(f"benchmarks.{name}").main(arguments.split())
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", APART)
def test_it_measures_in_processes_of_its_own(name: str, tmp_path: Path) -> None:
    arguments, expected = APART[name]
    runs(name, f"{arguments} --output {tmp_path}/figures.json", expected)


@pytest.mark.slow
def test_every_other_section_runs_without_a_gpu(tmp_path: Path) -> None:
    runs("gpu", f"{GPU_SECTIONS} --output {tmp_path}/figures.json", "collected")
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["failed"] == {}
    assert figures["correctness"]["methods"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RAY)
def test_it_measures_with_ray(name: str) -> None:
    runs(name, *RAY[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_it_measures_with_several_nodes(name: str) -> None:
    runs(name, *SLOW[name])


def runs(name: str, arguments: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments.split()],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in done.stdout, done.stdout + done.stderr
    # A benchmark may say that this machine, busy with tests, is too slow.
    assert "Traceback" not in done.stderr, done.stderr
