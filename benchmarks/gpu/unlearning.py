"""The evaluation suite, and one trial of Alignment Calibration, at full size."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.gpu.bench import Bench, Figures
from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import Split
from unlearn_ray.families.base import Family
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.alignment_calibration import AlignmentCalibration
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.base import SETS
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model
from unlearn_ray.train.unlearning import unlearn


def evaluation(bench: Bench) -> Figures:
    """Seconds of every metric of a sweep that names none; and how far its values are from a CPU's.

    The values are compared on a small dataset, from the same weights.
    """
    figures: Figures = {}
    for name, family in (("contrastive", MoCo()), ("classifier", Supervised())):
        suite = _Suite(bench, family, bench.data(), bench.split)
        suite.values()
        figures[name] = {"seconds": bench.seconds(suite.values)}
    small = Bench(bench.compute, small=True)
    ours = _Suite(small, Supervised(), small.data(), small.split).values()
    on_cpu = Bench(Compute(torch.device("cpu")), small=True)
    theirs = _Suite(on_cpu, Supervised(), on_cpu.data(), on_cpu.split).values()
    figures["apart_from_cpu"] = {name: abs(ours[name] - theirs[name]) for name in theirs}
    return figures


class _Suite:
    """Every metric that is measured by default, of one untrained model of a family."""

    def __init__(self, bench: Bench, family: Family, data: ResidentData, split: Split) -> None:
        self.bench = bench
        self.family = family
        self.data = data
        self.split = split

    def model(self, seed: int) -> nn.Module:
        """With untrained weights: inference costs what it does with trained ones."""
        return new_model(self.bench.backbone, self.family, self.bench.info, seed).eval()

    def values(self) -> dict[str, float]:
        """Every value, by name."""
        observed = self._observed(1, self._observed(0, None))
        return {
            name: value
            for metric in parts(Metric).values()
            if metric.by_default
            for name, value in metric().measure(observed).values.items()
        }

    def _observed(self, seed: int, original: Observed | None) -> Observed:
        inference = Inference(
            self.model(seed).to(self.bench.compute.device),
            self.data,
            self.split,
            family=self.family,
            probe=Probe(epochs=2) if self.bench.small else Probe(),
            seed=0,
            compute=self.bench.compute,
            make_model=self.model,
        )
        ids = {part: inference.ids(part) for part in SETS}
        labels = {part: inference.labels(part) for part in SETS}
        return Observed(
            ids, labels, cache(lambda quantity: quantity.observe(inference)), original=original
        )


def trial(bench: Bench) -> Figures:
    """Alignment Calibration on MoCo as in MUC: ten epochs over CIFAR-10; without evaluation."""
    family: Family = MoCo()
    data = bench.data()
    method: Any = AlignmentCalibration()
    if bench.small:
        method = replace(method, epochs=1, batch_size=bench.batch)

    def made(seed: int) -> nn.Module:
        return new_model(bench.backbone, family, bench.info, seed)

    def run() -> None:
        unlearn(
            made(0), family, method, data, bench.split,
            seed=0, compute=bench.compute, make_model=made,
        )  # fmt: skip

    seconds = bench.seconds(run)
    images = len(np.concatenate([bench.split.retain, bench.split.forget]))
    return {"seconds": seconds, "epochs": method.epochs, "images": images}
