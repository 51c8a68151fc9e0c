"""Relearning: how fast a model's loss on the forget set falls when it is fine-tuned on it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveFloat, PositiveInt, UnitInterval, schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity


@register("relearning")
@schema
class Relearning(Quantity):
    """Cross-entropy on forget samples, before any update and after each update of fine-tuning.

    A copy of the model is fine-tuned by SGD on the unaugmented forget set in random order, at a
    constant learning rate and without weight decay. It is in eval mode, so that batch norm keeps
    its statistics. Of an encoder, backbone and linear probe are fine-tuned together; of a model
    that reads captions, the image tower, with constant embeddings of the class prompts.

    Attributes:
        updates: their number.
        samples: the loss is that of at most this many samples, the first of the forget set.
        batch_size: samples per update.
        learning_rate, momentum: of SGD.
    """

    trained: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"updates": 3}

    updates: Annotated[int, Field(ge=1, le=100_000)] = 100
    samples: PositiveInt = 512
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 0.01
    momentum: UnitInterval = 0.9

    def observe(self, inference: Inference) -> Observation:
        """The array `losses`, one more than updates, float64.

        Raises:
            NonFiniteLoss: the loss or a weight, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        recipe = Recipe(
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=0.0,
            schedule="constant",
            last_batch="keep",
        )
        losses = inference.relearning_losses("forget", recipe, self.updates, self.samples)
        return Observation(arrays={"losses": losses})
