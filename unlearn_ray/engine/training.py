"""Training a family's model: from scratch, or with a method's loss from the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import world_size
from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.base import Split
from unlearn_ray.data.view_parameters import ViewParameters
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.loop import (
    Checkpoints,
    Iteration,
    Progress,
    Report,
    batch_layout,
    optimise,
)
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.shared_batch_norm import share_batch_norm
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.models.base import Model


def new_model(model: Model, family: Family, seed: int) -> nn.Module:
    """A freshly initialised model of a family; the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("initial weights", seed))
        return family.build(model.build())


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
        model: from `new_model`; trained in place.
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
    batches = _Batches(family, data, ids, never, compute)
    return batches.train(
        model,
        recipe,
        lambda batch: family.criterion(model, batch),
        seed=seed,
        checkpoints=checkpoints,
        on_progress=on_progress,
    )


def unlearn(
    model: nn.Module,
    family: Family,
    method: Method,
    data: ResidentData,
    split: Split,
    *,
    seed: int,
    compute: Compute,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
) -> Report:
    """Unlearn the forget set from `model`, in place; zero epochs leave it bit for bit.

    Args:
        model: the original, as pretraining left it.
        family: of the model.
        method: with its recipe.
        data: the dataset on the device.
        split: forget and retain set.
        seed: of order and views.
        compute: the device.
        checkpoints: where to save and resume.
        on_progress: see `optimise`.
    """
    chosen = {"retain": (split.retain,), "forget": (split.forget,)}.get(
        method.trains_on, (split.retain, split.forget)
    )
    ids = np.concatenate(chosen)
    task = Task(family=family, retain_size=len(split.retain), forget_size=len(split.forget))
    batches = _Batches(family, data, ids, np.isin(ids, split.forget), compute)
    return batches.train(
        model,
        method,
        lambda batch: method.loss(model, batch, task),
        seed=seed,
        checkpoints=checkpoints,
        on_progress=on_progress,
    )


@dataclass(frozen=True)
class _View:
    """One augmentation of a batch.

    Parameters are drawn for the whole batch, so that an image looks the same whichever worker
    makes its view.
    """

    augmentation: Augmentation
    images: UInt8[Tensor, "batch height width 3"]
    parameters: ViewParameters

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        return self.augmentation.apply(self.images[rows], self.parameters.rows(rows))


class _Batches:
    """Turns an iteration's rows into augmented views on the device."""

    def __init__(
        self,
        family: Family,
        data: ResidentData,
        ids: Int64[np.ndarray, " n"],
        is_forget: np.ndarray,
        compute: Compute,
    ) -> None:
        self.family = family
        self.data = data
        self.compute = compute
        self.ids = torch.from_numpy(np.ascontiguousarray(ids)).to(compute.device)
        self.is_forget = torch.from_numpy(is_forget).to(compute.device)

    def at(self, iteration: Iteration) -> Batch:
        rows = iteration.rows.to(self.compute.device, non_blocking=True)
        ids = self.ids[rows]
        images = self.data.train_images[ids]
        return Batch(
            views=tuple(self._view(images, iteration) for _ in range(self.family.views)),
            labels=self.data.train_labels[ids],
            is_forget=self.is_forget[rows],
            generator=iteration.generator,
        )

    def _view(self, images: Tensor, iteration: Iteration) -> _View:
        augmentation = self.family.augmentation
        drawn = augmentation.sample(images.shape[0], images.shape[1], iteration.generator)
        return _View(augmentation, images, drawn.to(images.device))

    def train(
        self,
        model: nn.Module,
        recipe: Recipe,
        loss: Callable[[Batch], Tensor],
        *,
        seed: int,
        checkpoints: Checkpoints | None,
        on_progress: Callable[[Progress], bool] | None,
    ) -> Report:
        batch, per_epoch = batch_layout(recipe, len(self.ids))
        if 0 < batch < world_size():
            raise BadInput(
                f"workers = {world_size()}",
                f"a batch of {batch} images cannot be shared by more workers than it has images",
                f"set workers to {batch} or fewer",
            )
        if world_size() > 1:
            share_batch_norm(model, batch)
        self.compute.place(model, per_epoch * recipe.epochs)
        model.train()
        report = optimise(
            model,
            recipe,
            count=len(self.ids),
            seed=seed,
            loss=lambda iteration: loss(self.at(iteration)),
            compute=self.compute,
            checkpoints=checkpoints,
            on_progress=on_progress,
        )
        model.eval()
        return report
