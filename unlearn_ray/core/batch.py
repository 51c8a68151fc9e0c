"""What one iteration sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from unlearn_ray.core.collective import own_rows


class View(Protocol):
    """One augmentation of the images of a whole batch, made when rows are asked for.

    A tensor of them, (B, 3, H, W), is one too.
    """

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        """Some of the images, normalised, on the device."""
        ...


@dataclass(frozen=True)
class Batch:
    """The images of one iteration: the same whole batch on every worker of a training.

    Attributes:
        views: the augmentations; `view` gives this worker's rows of them.
        labels: class of each image, (B,).
        is_forget: which images belong to the forget set, (B,).
        generator: a CPU generator seeded from (seed, iteration), for whatever else the
            iteration draws (MoCo's key shuffle); the same on every worker.
        ids: of each image in the dataset's training set, (B,).
        texts: tokens of one of each image's captions, drawn whenever the image is seen, (B, L);
            None where the family reads no captions.
        companions: the batches of other sets that this iteration sees, too.
        added: which of the images that the method adds to the epoch (`Phase.added`) are in the
            batch, by their numbers, (A,); None where it adds none.
        progress: share of the run's iterations done before this one, in [0, 1); of a method
            with several phases, each is a run.
    """

    views: tuple[View, ...]
    labels: Int[Tensor, " batch"]
    is_forget: Bool[Tensor, " batch"]
    generator: torch.Generator
    ids: Int64[Tensor, " batch"]
    texts: Int64[Tensor, "batch length"] | None = None
    companions: tuple[Batch, ...] = ()
    progress: float = 0.0
    added: Int64[Tensor, " added"] | None = None

    @property
    def size(self) -> int:
        """Number of images of the whole batch, without those that the method adds."""
        return self.labels.shape[0]

    @property
    def joined(self) -> Batch:
        """This batch and its companions as one, in this order: one pass through a model."""
        parts = (self, *self.companions)
        sizes = tuple(part.size for part in parts)
        texts = [part.texts for part in parts if part.texts is not None]
        together = zip(*(part.views for part in parts), strict=True)
        return Batch(
            views=tuple(_JoinedView(views, sizes) for views in together),
            labels=torch.cat([part.labels for part in parts]),
            is_forget=torch.cat([part.is_forget for part in parts]),
            generator=self.generator,
            ids=torch.cat([part.ids for part in parts]),
            texts=torch.cat(texts) if texts else None,
            progress=self.progress,
        )

    def view(
        self, index: int, order: Int64[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "own 3 height width"]:
        """The rows of a view that this worker computes, augmented at each call.

        Args:
            index: which view.
            order: an order, on the device, in which the whole batch is put first.
        """
        own = own_rows(self.size)
        return self.views[index][own if order is None else order[own]]


@dataclass(frozen=True)
class _JoinedView:
    views: tuple[View, ...]
    sizes: tuple[int, ...]

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        if isinstance(rows, Tensor):
            return self[:][rows]
        begin, end, _ = rows.indices(sum(self.sizes))
        pieces: list[Tensor] = []
        offset = 0
        for view, size in zip(self.views, self.sizes, strict=True):
            first, last = max(begin - offset, 0), min(end - offset, size)
            if first < last:
                pieces.append(view[first:last])
            offset += size
        return torch.cat(pieces) if pieces else self.views[0][:0]
