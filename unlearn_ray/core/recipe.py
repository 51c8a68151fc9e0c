"""`Recipe`: optimizer and schedule; `Player`: the weights that it updates, and their loss."""

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
    """How an epoch's samples are split into mini-batches.

    Attributes:
        batch: samples of every batch, except perhaps the last.
        batches: number of batches.
        shown: number of samples that an epoch sees.
    """

    batch: int
    batches: int
    shown: int

    def rows(self, number: int) -> slice:
        """The positions, in the epoch's order, of the samples of batch `number` (0-based)."""
        begin = number * self.batch
        return slice(begin, self.shown if number == self.batches - 1 else begin + self.batch)


@schema
class RecipeFields:
    """The fields of a recipe; a method that has a recipe lists them among its own.

    The defaults are MUC's pretraining (appendix A.2).

    Attributes:
        optimizer: "sgd"; "adam" (Kingma and Ba, ICLR 2015; betas 0.9 and 0.999), which ignores
            momentum; "lars" (You et al. 2017), which scales the learning rate of each layer and
            suits large batches; or "adamw" (Loshchilov and Hutter, ICLR 2019). Weight decay is
            part of the gradient except in adamw, where it is decoupled and, as in CLIP's codes,
            applies to matrices and convolutions only, not to gains, biases and scales.
        epochs: passes over the samples.
        batch_size: samples per update; a smaller set is one batch.
        learning_rate, momentum, weight_decay: of the optimizer.
        schedule: "constant" learning rate, or "cosine" decay to 0, per epoch.
        trust: LARS' trust coefficient: a layer's local rate is this times the norm of its weights
            over that of its decayed gradient. The paper's is 0.001; public BYOL codes take 0.02.
        clip_trust: whether the learning rate is an upper bound of the local rate (LARC), as in
            public BYOL codes, instead of its factor.
        warmup_epochs: epochs of linear warm-up from 0: each takes the mean of its part of the
            line, (epoch + 1/2) / warmup_epochs of the full rate. The schedule then runs over the
            remaining epochs.
        last_batch: what to do with an epoch's last, incomplete batch: "keep" it, its loss being
            the mean over its own samples, or "drop" it (other samples in each epoch). null follows
            the family's reference code: supervised training keeps it, contrastive families and
            those of two networks drop it. A kept batch of a single sample, which has no batch
            statistics, joins the previous one; a set smaller than one batch is one batch either
            way.
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
            count: size of the set.
            usual: stands in for a `last_batch` of null (`Family.last_batch`).
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
        """A single epoch (0-based) of it, as a recipe of its own."""
        rate = self.learning_rate_at(epoch)
        return replace(self, epochs=1, learning_rate=rate, schedule="constant", warmup_epochs=0)


@dataclass(frozen=True)
class Player(Generic[Seen]):
    """Weights that are optimised, and the loss that they minimise.

    Attributes:
        module: holds the weights.
        recipe: how they are updated.
        loss: maps what an iteration sees to a scalar with gradients: on every worker that of the
            whole batch.
    """

    module: nn.Module
    recipe: Recipe
    loss: Callable[Seen, Tensor]
