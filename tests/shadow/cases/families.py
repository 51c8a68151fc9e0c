"""Training every family, and with every optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, get_args

import numpy as np
from torch import Tensor

from tests.shadow.cases.counted import counted
from tests.shadow.world import (
    DEEP,
    SHALLOW,
    TRAIN,
    PerIteration,
    maker,
    on_cpu,
    on_device,
    resident,
    resumed,
    strayed,
    weights,
)
from unlearn_ray.core.recipe import Optimizer, Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import Family
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.models.base import Model
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Report
from unlearn_ray.train.training import train_from_scratch

BATCH = 64
# Large enough that rounding shows.
RATES: dict[Optimizer, float] = {"sgd": 0.1, "lars": 1.0, "adam": 1e-3, "adamw": 1e-3}


def cases() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every registered family by SGD, and every other optimizer on one of them."""
    for name, family in parts(Family).items():
        yield name, partial(_case, tiny(family), DEEP, "sgd")
    for optimizer in get_args(Optimizer):
        yield f"supervised by {optimizer}", partial(_case, tiny(Supervised), SHALLOW, optimizer)


def _case(family: Family, backbone: Model, optimizer: Optimizer) -> dict[str, Any]:
    train = partial(_train, family, backbone, optimizer)
    (_, expected), (_, found) = train(on_cpu()), train(on_device(exact=True))
    (shorter, less), (longer, more) = (counted(train, batch) for batch in (BATCH, BATCH // 2))
    return {
        "strayed": strayed(found, expected, weights(maker(family, backbone)(0))),
        "loss": shorter.loss,
        "resumed": resumed(lambda kept: train(on_device(), BATCH, kept)[1]),
        **PerIteration(longer.iterations, shorter.iterations, more, less).report(),
    }


def _train(
    family: Family,
    backbone: Model,
    optimizer: Optimizer,
    compute: Compute,
    batch: int = BATCH,
    checkpoints: Checkpoints | None = None,
) -> tuple[Report, dict[str, Tensor]]:
    model = maker(family, backbone)(0)
    rate = RATES[optimizer]
    recipe = Recipe(optimizer=optimizer, epochs=1, batch_size=batch, learning_rate=rate)
    report = train_from_scratch(
        model, family, recipe, resident(family, compute), np.arange(TRAIN), seed=0,
        compute=compute, checkpoints=checkpoints,
    )  # fmt: skip
    return report, weights(model)
