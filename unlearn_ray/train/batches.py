"""Mini-batches on the device: augmented views and randomly drawn captions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from unlearn_ray.core.batch import Batch
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.view_parameters import ViewParameters
from unlearn_ray.families.base import Family
from unlearn_ray.train.loop import Iteration, seeded
from unlearn_ray.train.resident import ResidentData


@dataclass(frozen=True)
class _View:
    """One augmentation of a batch.

    Parameters are drawn for the whole batch, so that an image's view does not depend on which
    worker computes it.
    """

    augmentation: Augmentation
    images: UInt8[Tensor, "batch height width 3"]
    parameters: ViewParameters

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        return self.augmentation.apply(self.images[rows], self.parameters.rows(rows))


class Batches:
    """The batches of some samples.

    Args:
        family: defines the views.
        data: the dataset on the device.
        ids: of the samples, int64.
        is_forget: which of them belong to the forget set.
        added: number of images that the method itself adds to an epoch: rows from `len` on.
    """

    def __init__(
        self,
        family: Family,
        data: ResidentData,
        ids: Int64[np.ndarray, " n"],
        is_forget: np.ndarray,
        added: int = 0,
    ) -> None:
        self._family = family
        self._data = data
        device = data.train_images.device
        self._ids = torch.from_numpy(np.ascontiguousarray(ids)).to(device)
        self._is_forget = torch.from_numpy(is_forget).to(device)
        self.added = added

    def __len__(self) -> int:
        return self._ids.shape[0]

    def at(self, iteration: Iteration) -> Batch:
        """The batch of an iteration."""
        rows, device = iteration.rows, self._ids.device
        added = None
        if self.added:
            is_added = rows >= len(self)
            added = (rows[is_added] - len(self)).to(device, non_blocking=True)
            rows = rows[~is_added]
        rows = rows.to(device, non_blocking=True)
        ids = self._ids[rows]
        images = self._data.train_images[ids]
        views = tuple(self._view(images, iteration) for _ in range(self._family.views))
        texts = self._data.train_texts
        return Batch(
            views=views,
            labels=self._data.train_labels[ids],
            is_forget=self._is_forget[rows],
            generator=iteration.generator,
            ids=ids,
            texts=None if texts is None else texts.drawn(ids, iteration.generator),
            progress=iteration.progress,
            added=added,
        )

    def _view(self, images: Tensor, iteration: Iteration) -> _View:
        augmentation = self._family.augmentation
        drawn = augmentation.sample(images.shape[0], images.shape[1], iteration.generator)
        return _View(augmentation, images, drawn.to(images.device))


class CompanionBatches:
    """Batches of another set, a new one for every iteration, in shuffled passes of their own.

    As in the reference codes every batch is full: a pass drops its incomplete last batch (other
    images each time), so that all images are equally likely.

    Args:
        batches: of that set.
        size: of a batch; a smaller set is one batch.
        seed: of the order.
        number: index among a phase's companion sets; each has its own order.
    """

    def __init__(self, batches: Batches, size: int, seed: int, number: int) -> None:
        self._batches = batches
        self._size = min(size, len(batches))
        self._words = ("beside", seed, number) if number else ("beside", seed)
        self._pass = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def of(self, iteration: Iteration, most: int | None = None) -> Batch:
        """The companion batch of an iteration.

        Args:
            iteration: with its number and its generator.
            most: maximum number of images; by default, the batch size.
        """
        number, position = divmod(iteration.number, len(self._batches) // self._size)
        if number != self._pass:
            generator = seeded(*self._words, number)
            self._order = torch.randperm(len(self._batches), generator=generator)
            self._pass = number
        rows = self._order[position * self._size : (position + 1) * self._size]
        return self._batches.at(replace(iteration, rows=rows[:most]))
