"""The results that training steps record."""

from __future__ import annotations

import math
from typing import Any

from unlearn_ray.core.collective import gather_objects
from unlearn_ray.data.base import Dataset
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.train.loop import Report


def training_result(report: Report, runtime: Runtime) -> dict[str, Any]:
    """The result for the step's record: compute seconds of all workers, iterations, last loss."""
    return {
        "compute_seconds": math.fsum(gather_objects(report.seconds)),
        "iterations": report.iterations,
        "loss": None if report.iterations == 0 else report.loss,
        **runtime.compute.machine.facts(),
    }


def images_result(dataset: Dataset) -> dict[str, Any]:
    """What a reader must know of the images to use a model, whose config names no files.

    Of the step whose config names the dataset; further results of that step's record.
    """
    info = dataset.info()
    return {"image_size": info.image_size, "class_names": list(info.class_names)}
