"""The result that every training step records."""

from __future__ import annotations

import math
from typing import Any

from unlearn_ray.core.collective import gather_objects
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
