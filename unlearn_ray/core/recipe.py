"""`Recipe`: how weights are optimised; `Player`: which weights, and on what they descend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, ParamSpec, Self

from torch import Tensor, nn

from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    schema,
)

Optimizer = Literal["sgd", "adam", "adamw", "lars"]
LastBatch = Literal["keep", "drop"]
Seen = ParamSpec("Seen")


@dataclass(frozen=True)
class Layout:
    """How an epoch deals samples out to batches.

    Attributes:
        batch: samples of every batch but perhaps the last.
        batches: how many there are.
        shown: samples that an epoch shows.
    """

    batch: int
    batches: int
    shown: int

    def rows(self, number: int) -> slice:
        """The places, in the epoch's order, of the samples of batch `number` (0-based)."""
        begin = number * self.batch
        return slice(begin, self.shown if number == self.batches - 1 else begin + self.batch)


@schema
class RecipeFields:
    """The fields of a recipe, which a method that has one lists among its own.

    The defaults are MUC's pretraining (appendix A.2).

    Attributes:
        optimizer: "sgd", or "adam" (Kingma and Ba, ICLR 2015; betas 0.9 and 0.999), for which
            momentum means nothing, or "lars" (You et al. 2017), which scales the rate of each
            layer and suits large batches. Weight decay is part of the gradient in all but
            "adamw" (Loshchilov and Hutter, ICLR 2019): adam, but that the learning rate times
            the decay is taken off the weights themselves, and off matrices and convolutions
            alone, as CLIP's codes do: gains, biases and scales are left.
        epochs: passes over the samples.
        batch_size: samples of an update; those of a smaller set are one batch.
        learning_rate, momentum, weight_decay: of the optimizer.
        schedule: whether the learning rate is "constant" or follows a per-epoch "cosine" to 0.
        trust: LARS' coefficient: a layer's local rate is this times the length of its weights over
            that of its decayed gradient. The paper's is 0.001; public BYOL codes take 0.02.
        clip_trust: whether the learning rate is the largest that a local rate may be, rather than
            what it is multiplied by (LARC), as in public BYOL codes.
        warmup_epochs: so many epochs come first in which the rate rises from 0 in a line: each
            has the mean of its part of it, (epoch + 1/2) / warmup_epochs of the full rate. The
            schedule then runs over the remaining epochs.
        last_batch: what becomes of the samples of an epoch that do not fill a batch: "keep" makes
            them a batch of their own, whose mean is over itself, and "drop" leaves them out, others
            in each epoch. null is what the code behind the family does: supervised training keeps
            them, the contrastive families and those of two networks drop them. A single sample
            that is kept joins the batch before, since it has no batch statistics; a set smaller
            than one batch is one batch either way.
    """

    optimizer: Optimizer = "sgd"
    epochs: NonNegativeInt = 800
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 0.06
    momentum: UnitInterval = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: NonNegativeInt = 0
    trust: PositiveFloat = 0.001
    clip_trust: bool = False
    last_batch: LastBatch | None = None


@schema
class Recipe(RecipeFields):
    """How weights are updated."""

    def layout(self, count: int, usual: LastBatch = "keep") -> Layout:
        """The batches of an epoch over `count` samples.

        Args:
            count: of the set.
            usual: what `last_batch` is where it is null (`Family.last_batch`).
        """
        if count == 0:
            return Layout(0, 0, 0)
        batch = min(self.batch_size, count)
        full, left = divmod(count, batch)
        if (self.last_batch or usual) == "drop":
            return Layout(batch, full, full * batch)
        return Layout(batch, full + (left > 1), count)

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate during `epoch` (0-based)."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * (epoch + 0.5) / self.warmup_epochs
        if self.schedule == "constant":
            return self.learning_rate
        done, of = epoch - self.warmup_epochs, self.epochs - self.warmup_epochs
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * done / of))

    def alone(self, epoch: int) -> Self:
        """One of its epochs (0-based), as a recipe of its own."""
        rate = self.learning_rate_at(epoch)
        return replace(self, epochs=1, learning_rate=rate, schedule="constant", warmup_epochs=0)


@dataclass(frozen=True)
class Player(Generic[Seen]):
    """Weights that are optimised, and what they descend on.

    Attributes:
        module: that has them.
        recipe: of their updates.
        loss: a scalar with gradients, from what an iteration sees; of the whole batch on every
            worker.
    """

    module: nn.Module
    recipe: Recipe
    loss: Callable[Seen, Tensor]
