"""What training steps leave: their results, and the files of their artifacts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from unlearn_ray.core.collective import gather_objects
from unlearn_ray.data.base import Dataset
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.curves import CURVES, pack_curves
from unlearn_ray.storage.store import pack_tensors
from unlearn_ray.storage.tensors import MODEL
from unlearn_ray.train.loop import Report

# In the results of steps that ran on a GPU: the most of its memory that PyTorch reserved.
GPU_BYTES = "gpu_bytes"


def training_result(report: Report, runtime: Runtime) -> dict[str, Any]:
    """The result for the step's record: compute seconds of all workers, iterations, last loss."""
    return {
        "compute_seconds": math.fsum(gather_objects(report.seconds)),
        "iterations": report.iterations,
        "loss": None if report.iterations == 0 else report.loss,
        **runtime.compute.machine.facts(),
        **_memory(runtime),
    }


def _memory(runtime: Runtime) -> dict[str, int]:
    """What this process has needed of its GPU so far, in bytes: data, earlier steps and all."""
    if not runtime.compute.on_gpu:
        return {}
    return {GPU_BYTES: torch.cuda.max_memory_reserved(runtime.compute.device)}


def trained(model: nn.Module, report: Report, result: dict[str, Any]) -> Produced:
    """The trained model, and its loss curves if anything was trained, which the record holds."""
    weights = {MODEL: pack_tensors(dict(model.state_dict()))}
    curves = {CURVES: pack_curves(report.curves)} if report.curves else {}
    return Produced(weights | curves, result, small=frozenset(curves))


def images_result(dataset: Dataset) -> dict[str, Any]:
    """What a reader must know of the images to use a model, whose config names no files.

    Of the step whose config names the dataset; further results of that step's record.
    """
    info = dataset.info()
    return {"image_size": info.image_size, "class_names": list(info.class_names)}
