"""Perturbed predictions: the classes predicted in a small ball around each forget image."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity


@register("perturbed_predictions")
@schema
class PerturbedPredictions(Quantity):
    """Classes predicted for forget images plus noise: (samples, draws).

    The noise is uniform over all integers of absolute value at most `epsilon`, independently for
    each channel of each pixel, and levels outside of 0 to 255 are clipped: every perturbed image is
    an 8-bit image. It depends only on the seed, so that all models see the same images.

    Attributes:
        epsilon: radius of the ball, in levels of 8 bits (1/255 of the range of a pixel).
        draws: perturbed images of each sample.
        samples: at most this many, the first of the forget set.
    """

    trained: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"draws": 2}

    epsilon: Annotated[int, Field(ge=0, le=255)] = 8
    draws: Annotated[int, Field(ge=1, le=1000)] = 10
    samples: PositiveInt = 5_000

    def observe(self, inference: Inference) -> Observation:
        """One column per draw.

        Raises:
            NonFiniteLoss: a logit, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        predicted = [
            inference.perturbed_logits("forget", self.epsilon, draw, self.samples).argmax(dim=1)
            for draw in range(self.draws)
        ]
        return Observation({"forget": torch.stack(predicted, dim=1)})
