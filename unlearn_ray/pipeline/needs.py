"""What a sweep's family and metrics need of its dataset: captions, or classes."""

from __future__ import annotations

import json
from typing import Any

from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import ClassifierFamily
from unlearn_ray.metrics.base import Metric
from unlearn_ray.pipeline.yaml_tree import Problems, Value


def lacks(read: dict[str, Any], nodes: dict[str, Value]) -> list[ConfigError]:
    """What the dataset of a sweep file lacks, one error for each.

    Args:
        read: the fields that could be read.
        nodes: all fields, with their places.
    """
    if "dataset" not in read:
        return []
    dataset, family = read["dataset"], read.get("family")
    try:
        info = dataset.info()
    except DataError:
        return []  # That is an error of its own.
    problems = Problems()
    with problems:
        if family is not None and family.reads_captions and not info.captioned:
            prompted = _prompted(nodes["dataset"])
            raise nodes["family"].error(
                f"{family.name} reads captions; {dataset.name} has none",
                f"write prompts of its classes, {prompted}, or change the family",
                show=False,
            )
    if info.class_names:
        return problems.found
    with problems:
        if isinstance(family, ClassifierFamily):
            raise nodes["family"].error(
                f"{family.name} needs classes; the images of {dataset.name} are of none",
                "change the family or the dataset",
                show=False,
            )
    with problems:
        if needing := [metric.name for metric in read.get("metrics", ()) if metric.needs_classes]:
            others = [name for name, part in parts(Metric).items() if not part.needs_classes]
            raise nodes.get("metrics", nodes["dataset"]).error(
                f"{', '.join(needing)}: without classes there is nothing to measure, and the "
                f"images of {dataset.name} are of none",
                f"name metrics among {', '.join(others)}",
                show=False,
            )
    return problems.found


def _prompted(dataset: Value) -> str:
    """The same dataset with prompts, as a sweep file says it."""
    shown = json.dumps(dataset.plain, ensure_ascii=False).replace('"', "")
    return f"{{prompted: {{dataset: {shown}}}}}"
