"""Mini-batches on the device: augmented views and randomly drawn captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import attrgetter

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.capture import Host
from unlearn_ray.core.transfer import given
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

    def at(
        self, iteration: Iteration, rows_of: Callable[[Iteration], Tensor] = attrgetter("rows")
    ) -> Batch:
        """The batch of an iteration.

        Nothing waits for a GPU, which still computes earlier iterations while this one is drawn.

        Args:
            iteration: with its generator.
            rows_of: the rows of an iteration; by default, its own.
        """
        drawn = given(partial(self._drawn, rows_of), iteration, self._ids.device)
        rows = drawn.rows
        ids = self._ids[rows]
        images = self._data.train_images
        chosen = ids if can_fuse(images) else None
        images = images[ids] if chosen is None else images
        augmentation = self._family.augmentation
        texts = self._data.train_texts
        return Batch(
            views=tuple(_View(augmentation, images, chosen, view) for view in drawn.views),
            labels=self._data.train_labels[ids],
            is_forget=self._is_forget[rows],
            generator=iteration.generator,
            ids=ids,
            texts=None if texts is None else texts.drawn(ids, drawn.captions),
            done=iteration.progress,
            added=drawn.added,
        )

    def _drawn(self, rows_of: Callable[[Iteration], Tensor], iteration: Iteration) -> Host[_Drawn]:
        rows, generator = rows_of(iteration), iteration.generator
        added: Tensor | None = None
        if self.added:
            is_added = rows >= len(self)
            rows, added = rows[~is_added], rows[is_added] - len(self)
        size, count, family = self._data.train_images.shape[1], len(rows), self._family
        views = [family.augmentation.sample(count, size, generator) for _ in range(family.views)]
        shown = 0 if self._data.train_texts is None else count
        captions = torch.rand(shown, generator=generator, dtype=torch.float64)
        drawn = _Drawn(rows, views, added, captions)
        return Host(drawn.tensors(), drawn.with_tensors)


@dataclass(frozen=True)
class _Drawn:
    """What is drawn for a batch.

    Attributes:
        rows: of the images, (B,).
        views: the parameters of each view.
        added: see `Batch`.
        captions: in [0, 1), which of its captions an image shows, (B,); without captions, (0,).
    """

    rows: Tensor
    views: list[ViewParameters]
    added: Tensor | None
    captions: Tensor

    def tensors(self) -> list[Tensor]:
        """All of it."""
        parts = [part for view in self.views for part in view.tensors().values()]
        added = [] if self.added is None else [self.added]
        return [self.rows, self.captions, *added, *parts]

    def with_tensors(self, tensors: Sequence[Tensor]) -> _Drawn:
        """The same with other tensors, in the order of `tensors`."""
        rows, captions, *rest = tensors
        left = iter(rest)
        added = None if self.added is None else next(left)
        views = [view.with_tensors(islice(left, len(view.tensors()))) for view in self.views]
        return _Drawn(rows, views, added, captions)


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
        return self._batches.at(iteration, partial(self._rows, most))

    def _rows(self, most: int | None, iteration: Iteration) -> Tensor:
        number, position = divmod(iteration.number, len(self._batches) // self._size)
        if number != self._pass:
            generator = seeded(*self._words, number)
            self._order = torch.randperm(len(self._batches), generator=generator)
            self._pass = number
        return self._order[position * self._size : (position + 1) * self._size][:most]
