"""Iterations replayed as a CUDA graph: weights and seconds beside those of launched ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.bench import CLASSES, Bench, Figures
from benchmarks.gpu.training import Case, apart, cases, with_captions
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.train import step_graph
from unlearn_ray.train.resident import ResidentData

# Iterations, most of which are replayed.
ITERATIONS = 12
# Of weights, relative to their norm, unless two launched runs are further apart.
TOLERANCE = 1e-3


def graphs(bench: Bench) -> Figures:
    """How far replayed weights are from launched ones, beside a second launched run; the probe."""
    figures: Figures = {"captured": bench.compute.on_gpu, "families": {}, "beyond": []}
    data = bench.data(count=ITERATIONS * bench.batch)
    for name, case in cases(bench).items():
        of_data = with_captions(bench, case, data)
        first, second = (_weights(bench, case, of_data) for _ in range(2))
        with capturing(bench) as replaying:
            replayed = _weights(replaying, case, of_data)
        found = {"second_run": apart(second, first), "replayed": apart(replayed, first)}
        figures["families"][name] = found
        if found["replayed"] > max(TOLERANCE, 10 * found["second_run"]):
            figures["beyond"].append(name)
    figures["probe"] = _probes(bench)
    if figures["probe"]["apart"] > TOLERANCE:
        figures["beyond"].append("probe")
    return figures


@contextmanager
def capturing(bench: Bench) -> Iterator[Bench]:
    """The bench with iterations captured in runs of any length; on a CPU, the bench itself."""
    before = step_graph.CAPTURE_FROM_ITERATIONS
    step_graph.CAPTURE_FROM_ITERATIONS = 0
    try:
        yield replace(bench, compute=replace(bench.compute, graphs=bench.compute.on_gpu))
    finally:
        step_graph.CAPTURE_FROM_ITERATIONS = before


def _weights(bench: Bench, case: Case, data: ResidentData) -> Tensor:
    model = case.trained(bench, data, ITERATIONS)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def _probes(bench: Bench) -> Figures:
    """Seconds of MUC's probe on cached features of 45,000 images, launched and replayed."""
    generator = torch.Generator().manual_seed(0)
    count, size = (200, 16) if bench.small else (45_000, 512)
    features = torch.rand(1, count, size, generator=generator).to(bench.compute.device)
    labels = torch.randint(CLASSES, (count,), generator=generator).to(bench.compute.device)
    probe = Probe(epochs=2, batch_size=32) if bench.small else Probe()

    def weight(bench: Bench) -> Tensor:
        return train_probe(
            probe, features, labels, feature_size=size, num_classes=CLASSES, seed=0,
            compute=bench.compute,
        ).weight.detach()  # fmt: skip

    launched = weight(bench)
    figures: Figures = {"launched_seconds": bench.seconds(lambda: weight(bench))}
    with capturing(bench) as replaying:
        figures["apart"] = apart(weight(replaying), launched)
        figures["replayed_seconds"] = bench.seconds(lambda: weight(replaying))
    return figures
