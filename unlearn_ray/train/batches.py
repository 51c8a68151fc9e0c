"""Mini-batches on the device: augmented views and randomly drawn captions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.transfer import moved
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.fused_views import can_fuse
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
    images: UInt8[Tensor, "images height width 3"]
    ids: Int64[Tensor, " batch"] | None
    parameters: ViewParameters

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        return self.augmentation.apply(self.images, self.parameters, self.ids, rows)


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
        """The batch of an iteration.

        Nothing waits for a GPU, which still computes earlier iterations while this one is drawn.
        """
        rows = iteration.rows
        added: Tensor | None = None
        if self.added:
            is_added = rows >= len(self)
            rows, added = rows[~is_added], rows[is_added] - len(self)
        drawn = self._drawn(len(rows), iteration.generator)
        rows, added, drawn = _moved(rows, added, drawn, self._ids.device)
        ids = self._ids[rows]
        images = self._data.train_images
        chosen = ids if can_fuse(images) else None
        images = images[ids] if chosen is None else images
        augmentation = self._family.augmentation
        texts = self._data.train_texts
        return Batch(
            views=tuple(_View(augmentation, images, chosen, view) for view in drawn),
            labels=self._data.train_labels[ids],
            is_forget=self._is_forget[rows],
            generator=iteration.generator,
            ids=ids,
            texts=None if texts is None else texts.drawn(ids, iteration.generator),
            progress=iteration.progress,
            added=added,
        )

    def _drawn(self, count: int, generator: torch.Generator) -> list[ViewParameters]:
        size, family = self._data.train_images.shape[1], self._family
        return [family.augmentation.sample(count, size, generator) for _ in range(family.views)]


def _moved(
    rows: Tensor, added: Tensor | None, drawn: list[ViewParameters], device: torch.device
) -> tuple[Tensor, Tensor | None, list[ViewParameters]]:
    """All that an iteration draws, on the device, in one copy."""
    indices = [rows] if added is None else [rows, added]
    parts = [part for view in drawn for part in view.tensors().values()]
    there = iter(moved([*indices, *parts], device))
    rows, added = next(there), None if added is None else next(there)
    return rows, added, [view.with_tensors(islice(there, len(view.tensors()))) for view in drawn]


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
