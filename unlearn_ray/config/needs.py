"""What a sweep's family and metrics require of its dataset: captions, or classes."""

from __future__ import annotations

import json
from typing import Any

from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import ConfigError, DataError, listed
from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.metrics.base import Metric


def lacks(read: dict[str, Any], nodes: dict[str, Value]) -> list[ConfigError]:
    """What the dataset of a sweep file lacks, one error for each.

    Args:
        read: the fields that were read without an error.
        nodes: all fields, with their lines.
    """
    if "dataset" not in read:
        return []
    try:
        info = read["dataset"].info()
    except DataError:
        return []  # This is reported as an error of its own.
    problems = Problems()
    for check in (_captions, _captions_of_metrics, _classes, _classes_of_metrics):
        with problems:
            check(info, read, nodes)
    return problems.found


def _captions(info: DatasetInfo, read: dict[str, Any], nodes: dict[str, Value]) -> None:
    family = read.get("family")
    if family is not None and family.reads_captions and not info.captioned:
        prompted = _prompted(nodes["dataset"])
        raise nodes["family"].error(
            f"{family.name} reads captions; {read['dataset'].name} has none",
            f"add class prompts, {prompted}, or change the family",
            show=False,
        )


def _captions_of_metrics(info: DatasetInfo, read: dict[str, Any], nodes: dict[str, Value]) -> None:
    needing = [metric.name for metric in read.get("metrics", ()) if metric.needs_captions]
    if needing and not _reads_captions(read):
        readers = [name for name, part in parts(Family).items() if part.reads_captions]
        raise nodes.get("metrics", nodes["dataset"]).error(
            f"{listed(needing)}: they compare images with captions, and "
            f"{read['family'].name} reads none",
            f"name other metrics, or set the family to {' or '.join(readers[:5])}",
            show=False,
        )


def _classes(info: DatasetInfo, read: dict[str, Any], nodes: dict[str, Value]) -> None:
    family = read.get("family")
    if isinstance(family, ClassifierFamily) and not info.class_names:
        raise nodes["family"].error(
            f"{family.name} needs classes; the images of {read['dataset'].name} are unlabelled",
            "change the family or the dataset",
            show=False,
        )


def _classes_of_metrics(info: DatasetInfo, read: dict[str, Any], nodes: dict[str, Value]) -> None:
    needing = [metric.name for metric in read.get("metrics", ()) if metric.needs_classes]
    if needing and not info.class_names:
        others = [
            name
            for name, metric in parts(Metric).items()
            if not metric.needs_classes and (_reads_captions(read) or not metric.needs_captions)
        ]
        raise nodes.get("metrics", nodes["dataset"]).error(
            f"{listed(needing)}: these measure classes, and the images of "
            f"{read['dataset'].name} are unlabelled",
            f"name metrics among {listed(others, 20)}",
            show=False,
        )


def _reads_captions(read: dict[str, Any]) -> bool:
    """Whether the family reads captions, or may: its field could not be read."""
    return "family" not in read or read["family"].reads_captions


def _prompted(dataset: Value) -> str:
    """The same dataset with class prompts, in sweep-file syntax."""
    shown = json.dumps(dataset.plain, ensure_ascii=False).replace('"', "")
    return f"{{prompted: {{dataset: {shown}}}}}"
