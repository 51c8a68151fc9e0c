"""Training a family's model from scratch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from unlearn_ray.core.collective import world_size
from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.engine.batches import Batches
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.loop import Checkpoints, Progress, Report, optimise
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.shared_batch_norm import share_batch_norm
from unlearn_ray.engine.sparsity import Masks, apply_masks, keeper
from unlearn_ray.families.base import Family
from unlearn_ray.models.base import Model


def new_model(
    model: Model, family: Family, info: DatasetInfo, seed: int, *, sparse: bool = False
) -> nn.Module:
    """A freshly initialised model of a family; the same weights for the same seed.

    Args:
        model: the backbone.
        family: of the model.
        info: of the dataset.
        seed: of the weights.
        sparse: whether it has masks; none of its weights is pruned yet.
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
        model: from `new_model`; trained in place. Its masks hold from the first iteration on.
        family: with its criterion.
        recipe: with its epochs.
        data: the dataset on the device.
        ids: samples to train on, int64.
        seed: of order and views.
        compute: the device.
        checkpoints: where to save and resume.
        on_progress: see `optimise`.
    """
    never = np.zeros(len(ids), dtype=bool)
    batches = Batches(family, data, ids, never)
    ready(model, recipe, len(ids), compute)
    apply_masks(model)
    model.train()
    report = optimise(
        model,
        recipe,
        count=len(ids),
        seed=seed,
        loss=lambda iteration: family.criterion(model, batches.at(iteration)),
        compute=compute,
        checkpoints=checkpoints,
        on_progress=on_progress,
        after_update=keeper(model),
    )
    model.eval()
    return report


def ready(model: nn.Module, recipe: Recipe, count: int, compute: Compute) -> None:
    """Move a model to the device and ready it for training on `count` samples an epoch.

    Raises:
        BadInput: there are more workers than images in a batch.
    """
    batch, per_epoch = recipe.layout(count)
    if 0 < batch < world_size():
        raise BadInput(
            f"workers = {world_size()}",
            f"a batch of {batch} images cannot be shared by more workers than it has images",
            f"set workers to {batch} or fewer",
        )
    if world_size() > 1:
        share_batch_norm(model, batch)
    compute.place(model, per_epoch * recipe.epochs)
