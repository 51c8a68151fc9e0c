"""Several trainings on one GPU, as trials with `gpu: 0.25` share it; and NCCL with one process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed

from benchmarks.gpu.bench import Bench, Figures
from benchmarks.gpu.training import cases
from unlearn_ray.core.collective import average, gather_rows

AT_ONCE = (1, 2, 4, 8)


def packing(bench: Bench) -> Figures:
    """Images a second of 1, 2, 4 and 8 processes that train at once, and what each then gets."""
    figures: Figures = {"mps": "CUDA_MPS_PIPE_DIRECTORY" in os.environ}
    for name in ("supervised", "simclr"):
        figures[name] = {}
        for processes in AT_ONCE[:2] if bench.small else AT_ONCE:
            rates = _together(processes, name, bench)
            figures[name][str(processes)] = {"images_a_second": sum(rates), "slowest": min(rates)}
    return figures


def _together(processes: int, name: str, bench: Bench) -> list[float]:
    """The rates of processes that all begin to measure once all are warm."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.gpu.packing", name, folder, str(processes)]
        workers = [
            subprocess.Popen(
                [*command, *(["--small"] if bench.small else [])],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        told = [worker.communicate()[0] for worker in workers]
    for worker in workers:
        if worker.returncode:
            raise subprocess.CalledProcessError(worker.returncode, command)
    return [float(one.split()[-1]) for one in told]


def _measure(name: str, folder: Path, processes: int, bench: Bench) -> float:
    """Images a second of this process, beside the others."""
    case = cases(bench)[name]
    batch = min(case.recipe.batch_size, bench.batch)
    data = bench.data(count=4 * batch)
    model = case.trained(bench, data, bench.iterations)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < processes:
        time.sleep(0.001)
    count = 2 * bench.iterations
    return batch * count / bench.seconds(lambda: case.trained(bench, data, count, model=model))


def collectives(bench: Bench) -> Figures:
    """The collective operations of a group of one process: NCCL, or gloo on a CPU."""
    backend = "nccl" if bench.compute.on_gpu else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group(
            backend, init_method=f"file://{folder}/group", world_size=1, rank=0
        )
        try:
            rows = torch.arange(6.0, device=bench.compute.device).view(3, 2)
            reduced = rows.clone()
            distributed.all_reduce(reduced)
            gathered = gather_rows(rows, 3)
            averaged = rows.clone()
            average([averaged])
            bench.synchronise()
            same = all(torch.equal(rows, each) for each in (reduced, gathered, averaged))
        finally:
            distributed.destroy_process_group()
    return {"backend": backend, "as_without": same}


if __name__ == "__main__":
    wanted, where, together, *small = sys.argv[1:]
    print(_measure(wanted, Path(where), int(together), Bench.here(bool(small))))
