"""What one iteration sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from unlearn_ray.core.capture import Host, capturer, refuse
from unlearn_ray.core.collective import own_rows
from unlearn_ray.core.transfer import given


class View(Protocol):
    """One augmentation of a whole batch's images, computed lazily when rows are indexed.

    A plain tensor of views, (B, 3, H, W), qualifies, too.
    """

    def __getitem__(self, rows: slice | Int64[Tensor, " n"], /) -> Float[Tensor, "n 3 h w"]:
        """The selected images, augmented and normalised, on the device.

        In float32; on a GPU under autocast in its dtype, as a model's first layer takes them.
        Within `families.similarity.full_precision` they are in float32 everywhere.
        """
        ...


class Moment(Protocol):
    """What the host draws and schedules an iteration by: `train.loop.Iteration`, or its batch."""

    @property
    def generator(self) -> torch.Generator:
        """See `Batch`."""
        ...

    @property
    def progress(self) -> float:
        """See `Batch`."""
        ...


@dataclass(frozen=True)
class Batch:
    """The images of one iteration: every worker holds the same whole batch.

    Attributes:
        views: the augmentations; `view` gives this worker's rows of them.
        labels: class of each image, (B,).
        is_forget: which images belong to the forget set, (B,).
        generator: a CPU generator seeded from (seed, iteration), for all other random draws of
            the iteration (such as MoCo's key shuffle); the same on every worker. An iteration
            that draws from it other than by `drawn` is not captured as a CUDA graph.
        ids: each image's index in the dataset's training set, (B,).
        texts: tokens of one caption per image, redrawn whenever the image is seen, (B, L);
            None if the family reads no captions.
        companions: mini-batches of other sets that this iteration also sees.
        added: indices of the images in this batch that the method itself adds to the epoch
            (`Phase.added`), (A,); None if it adds none.
        done: `progress`.
    """

    views: tuple[View, ...]
    labels: Int[Tensor, " batch"]
    is_forget: Bool[Tensor, " batch"]
    generator: torch.Generator
    ids: Int64[Tensor, " batch"]
    texts: Int64[Tensor, "batch length"] | None = None
    companions: tuple[Batch, ...] = ()
    done: float = 0.0
    added: Int64[Tensor, " added"] | None = None

    @property
    def size(self) -> int:
        """Number of images in the whole batch, not counting those that the method adds."""
        return self.labels.shape[0]

    @property
    def progress(self) -> float:
        """Share of the run's iterations done before this one, in [0, 1).

        Each phase of a method counts as a run of its own. What is computed from it by `scheduled`
        also changes where iterations are captured as a CUDA graph.
        """
        refuse("reads how far the run is other than by Batch.scheduled")
        return self.done

    def drawn(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """What `draw` makes of the iteration's generator, on the CPU; on the device.

        Args:
            draw: draws from its argument, and depends on nothing else that differs between
                iterations.
        """

        def make(moment: Moment) -> Host[Tensor]:
            return Host([draw(moment.generator)], _only)

        return given(make, self, self.labels.device)

    def scheduled(self, value: Callable[[float], float]) -> float | Float[Tensor, ""]:
        """A number that follows `progress`; on the device where the iteration is captured."""
        if capturer() is None:
            return value(self.done)

        def make(moment: Moment) -> Host[Tensor]:
            return Host([torch.tensor(value(moment.progress))], _only)

        return given(make, self, self.labels.device)

    @property
    def joined(self) -> Batch:
        """This batch and its companions concatenated, for one forward pass."""
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
            done=self.done,
        )

    def view(
        self, index: int, order: Int64[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "own 3 height width"]:
        """This worker's rows of a view, augmented anew at each call.

        Args:
            index: which view.
            order: a permutation, on the device, applied to the whole batch first.
        """
        own = own_rows(self.size)
        return self.views[index][own if order is None else order[own]]


def _only(tensors: Sequence[Tensor]) -> Tensor:
    (tensor,) = tensors
    return tensor


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
