"""Refuse batches that a model cannot be trained on, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import torch

from unlearn_ray.config.sweep_schema import Study
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.families.base import Family
from unlearn_ray.models.base import Model

# Sample count of each set; sets whose size is not known yet are missing.
Counts = Mapping[str, int]

_REMEDIES = {
    "all": "train on two samples or more",
    "retain": "forget fewer samples, or use a method that also trains on the forget set",
    "forget": "forget two samples or more, or use a method that also trains on the retain set",
    "validation": "keep two samples or more for validation, or remove the method",
}


def counts_of(trained_on: int, forget: int | None, validation: int) -> dict[str, int]:
    """The sample count of each set.

    Args:
        trained_on: samples of retain and forget set together.
        forget: samples of the forget set; None where that takes the data to know.
        validation: samples that no model is trained on.
    """
    known = {"all": trained_on, "validation": validation}
    return known if forget is None else known | {"forget": forget, "retain": trained_on - forget}


def check_training(
    training: Recipe, counts: Counts, family: Family, model: Model, image_size: int
) -> None:
    """Refuse batches of one image in pretraining or retraining, if they cannot be trained on.

    Raises:
        ConfigError: there would be one.
    """
    if training.epochs:
        passes = (("all", training.batch_size), ("retain", training.batch_size))
        _check("training", passes, counts, family, model, image_size)


def check_study(
    study: Study, counts: Counts, family: Family, model: Model, image_size: int
) -> None:
    """Refuse batches of one image in unlearning, at any point of the search space, likewise.

    Raises:
        ConfigError: there would be one.
    """
    for point in study.corners():
        passes = study.at(point).own_batches()
        _check(study.name, passes, counts, family, model, image_size)


def _check(
    name: str,
    passes: Iterable[tuple[str, int]],
    counts: Counts,
    family: Family,
    model: Model,
    image_size: int,
) -> None:
    for part, batch_size in passes:
        count = counts.get(part)
        if count is None or min(count, batch_size) != 1:
            continue
        reason = family.needs_two
        if not reason and _normalises_one_number(model, image_size):
            reason = "its batch norm gets one value per channel, which has no variance"
        if reason:
            of = "forget and retain set" if part == "all" else f"{part} set"
            raise ConfigError(
                f"{name} on a {of} of 1 sample" if count == 1 else f"{name} on 1 image at a time",
                f"{family.name} with {model.name} cannot be trained on one image: {reason}",
                _REMEDIES[part] if count == 1 else f"make its batches of the {of} larger",
            )


@cache
@torch.no_grad()
def _normalises_one_number(model: Model, image_size: int) -> bool:
    """Whether torch refuses to train on one image: tried out, as it depends on the layers."""
    with torch.random.fork_rng(devices=[]):
        backbone = model.build(image_size).train()
    try:
        backbone(torch.zeros(1, 3, image_size, image_size))
    except ValueError:
        return True
    return False
