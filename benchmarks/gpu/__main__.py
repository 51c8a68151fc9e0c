"""Runs the sections, each in a process of its own; see the package."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import torch

import benchmarks.gpu
from benchmarks.gpu.bench import Bench, Figures

# By worth: what is left out when the minutes are over stands last.
SECTIONS = {
    "correctness": "benchmarks.gpu.correctness",
    "graphs": "benchmarks.gpu.graphs",
    "training": "benchmarks.gpu.training",
    "views": "benchmarks.gpu.training",
    "evaluation": "benchmarks.gpu.unlearning",
    "trial": "benchmarks.gpu.unlearning",
    "resumption": "benchmarks.gpu.training",
    "deterministic": "benchmarks.gpu.training",
    "packing": "benchmarks.gpu.packing",
    "collectives": "benchmarks.gpu.packing",
    "peers": "benchmarks.gpu.peers",
    "tests": "benchmarks.gpu.__main__",
}
# What an H200 should reach, and where the figure is found.
GOALS: Mapping[str, tuple[tuple[str, ...], float, str]] = {
    "SimCLR, an epoch": (
        ("training", "families", "simclr", "seconds_an_epoch_of_45000"), 1.2, "s at most",
    ),
    "MoCo, an epoch": (
        ("training", "families", "moco", "seconds_an_epoch_of_45000"), 0.8, "s at most",
    ),
    "views": (("views", "contrastive"), 1e6, "a second at least"),
    "the evaluation suite": (("evaluation", "contrastive", "seconds"), 5, "s at most"),
    "a trial": (("trial", "seconds"), 25, "s at most"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all sections, or those given."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=benchmarks.gpu.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="the JSON file")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all sections together")
    parser.add_argument("--small", action="store_true", help="only show that everything runs")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {unknown[0]}; known are {', '.join(SECTIONS)}")
    if options.here is not None:
        (name,) = options.sections
        section: Callable[[Bench], Figures] = getattr(import_module(SECTIONS[name]), name)
        options.here.write_text(json.dumps(section(Bench.here(options.small))), encoding="utf-8")
        return 0
    return _run(options.sections or list(SECTIONS), options)


def _run(names: Sequence[str], options: argparse.Namespace) -> int:
    ends = time.monotonic() + 60 * options.minutes
    figures: Figures = {"machine": _machine(options.small), "small": options.small, "failed": {}}
    for name in names:
        started = time.monotonic()
        if started > ends:
            figures["failed"][name] = "no time was left"
            continue
        print(f"== {name}", flush=True)
        figures[name], why = _section(name, ends - started, options.small)
        if why:
            figures["failed"][name] = why
            print(f"   failed: {why}", flush=True)
        figures[name]["wall_seconds"] = round(time.monotonic() - started, 1)
        _print(figures[name])
        options.output.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if not options.small:
        for line in goals(figures):
            print(line)
    print(f"written to {options.output}")
    return 1 if figures["failed"] else 0


def _section(name: str, seconds: float, small: bool) -> tuple[Figures, str]:
    """A section's figures, and why it failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        command = [sys.executable, "-m", "benchmarks.gpu", name, "--here", str(file)]
        try:
            done = subprocess.run(
                command + ["--small"] * small,
                timeout=seconds,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {}, f"not done when the minutes were over, after {seconds:.0f} s"
        if done.returncode:
            return {}, done.stderr.strip().splitlines()[-1] if done.stderr else "no reason given"
        figures: Figures = json.loads(file.read_text(encoding="utf-8"))
    beyond = figures.get("beyond") or figures.get("tests_failed")
    return figures, f"beyond the tolerance: {', '.join(beyond)}" if beyond else ""


def _machine(small: bool) -> Figures:
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {**Bench.here(small).compute.machine.facts(), **versions}


def _print(figures: Figures, indent: int = 3) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(" " * indent + name)
            _print(value, indent + 3)
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(" " * indent + f"{name}: {shown}", flush=True)


def goals(figures: Figures) -> list[str]:
    """A line for each goal: what was reached, and whether that is enough."""
    lines = []
    for goal, (path, bound, unit) in GOALS.items():
        value: object = figures
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, float):
            lines.append(f"{goal}: not measured (goal: {bound:g} {unit})")
            continue
        reached = value >= bound if unit.endswith("least") else value <= bound
        lines.append(
            f"{goal}: {value:.4g} {'reached' if reached else 'MISSED'} (goal: {bound:g} {unit})"
        )
    return lines


def tests(bench: Bench) -> Figures:
    """The tests that are marked gpu; on a CPU, only that they are found."""
    wanted = ["--collect-only"] if not bench.compute.on_gpu else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *wanted, "tests/gpu"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    failed = [line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")]
    if done.returncode and not failed:
        failed = lines[-3:]
    return {"told": lines[-1], "tests_failed": failed}


if __name__ == "__main__":
    sys.exit(main())
