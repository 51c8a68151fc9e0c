"""`Recipe`: how weights are optimised, whatever is optimised."""

from __future__ import annotations

import math
from typing import Literal

from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    schema,
)

Optimizer = Literal["sgd", "adam", "adamw", "lars"]


@schema
class Recipe:
    """How weights are updated; the learning rate is constant or follows a per-epoch cosine to 0.

    The defaults are MUC's pretraining (appendix A.2): 800 epochs, batch 512, learning rate
    0.06, momentum 0.9, weight decay 5e-4, cosine without warm-up.

    Attributes:
        optimizer: "sgd", or "adam" (Kingma and Ba, ICLR 2015; betas 0.9 and 0.999), for which
            momentum means nothing, or "lars" (You et al. 2017), which scales the rate of each
            layer and suits large batches. Weight decay is part of the gradient in all but
            "adamw" (Loshchilov and Hutter, ICLR 2019): adam, but that the learning rate times
            the decay is taken off the weights themselves, and off matrices and convolutions
            alone, as CLIP's codes do: gains, biases and scales are left.
        trust: LARS' coefficient: a layer's local rate is this times the length of its weights over
            that of its decayed gradient. The paper's is 0.001; public BYOL codes take 0.02.
        clip_trust: whether the learning rate is the largest that a local rate may be, rather than
            what it is multiplied by (LARC), as in public BYOL codes.
        warmup_epochs: so many epochs come first in which the rate rises from 0 in a line: each
            has the mean of its part of it, (epoch + 1/2) / warmup_epochs of the full rate. The
            schedule then runs over the remaining epochs.
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

    def layout(self, count: int) -> tuple[int, int]:
        """Images per batch and batches per epoch of `count`; the last, partial batch is dropped.

        A set smaller than one batch is one batch.
        """
        batch = min(self.batch_size, count)
        return batch, count // batch if batch else 0

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate during `epoch` (0-based)."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * (epoch + 0.5) / self.warmup_epochs
        if self.schedule == "constant":
            return self.learning_rate
        done, of = epoch - self.warmup_epochs, self.epochs - self.warmup_epochs
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * done / of))
