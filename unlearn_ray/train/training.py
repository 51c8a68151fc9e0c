"""Training a family's model from scratch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from unlearn_ray.core.collective import sharing, world_size
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import Layout, Player, Recipe
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import Family
from unlearn_ray.models.base import Model
from unlearn_ray.train.batches import Batches
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import (
    Iteration,
    Progress,
    Report,
    Training,
    optimise,
)
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.shared_batch_norm import share_batch_norm
from unlearn_ray.train.sparsity import Masks, apply_masks, keeper


def new_model(
    model: Model, family: Family, info: DatasetInfo, seed: int, *, sparse: bool = False
) -> nn.Module:
    """A randomly initialised model of a family; the same weights for the same seed.

    Args:
        model: the backbone.
        family: of the model.
        info: of the dataset.
        seed: of the weights.
        sparse: whether it gets masks; none of its weights is pruned yet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("initial weights", seed))
        made = family.build(model.build(info.image_size), len(info.class_names))
    if sparse:
        made.sparsity = Masks(made.get_submodule("backbone"))
    return made


def train_from_scratch(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    data: ResidentData,
    ids: Int64[np.ndarray, " n"],
    *,
    seed: int,
    compute: Compute,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
) -> Report:
    """Pretraining (`ids` of all training samples) or retraining (of the retain set).

    Args:
        model: from `new_model`; trained in place. Its masks apply from the first iteration.
        family: with its criterion.
        recipe: optimizer, schedule and epochs.
        data: the dataset on the device.
        ids: samples to train on, int64.
        seed: of order and views.
        compute: the device.
        checkpoints: where to save and resume.
        on_progress: see `optimise`.
    """
    never = np.zeros(len(ids), dtype=bool)
    batches = Batches(family, data, ids, never)
    ready(model, recipe.epochs, recipe.layout(len(ids), family.last_batch), compute)
    apply_masks(model)
    model.train()

    def loss(iteration: Iteration) -> Tensor:
        batch = batches.at(iteration)
        with sharing(batch.size):
            return family.criterion(model, batch)

    training = Training(
        players=(Player(model, recipe, loss),),
        count=len(ids),
        seed=seed,
        last_batch=family.last_batch,
        after_update=keeper(model),
    )
    report = optimise(training, compute, checkpoints=checkpoints, on_progress=on_progress)
    model.eval()
    return report


def ready(model: nn.Module, epochs: int, layout: Layout, compute: Compute) -> None:
    """Move a model to the device, and prepare it for so many epochs of a layout."""
    if world_size() > 1:
        share_batch_norm(model)
    compute.place(model, layout.batches * epochs)
