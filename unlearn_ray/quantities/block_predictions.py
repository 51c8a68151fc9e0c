"""Block predictions: the classes that linear probes of every block give forget samples."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeInt, PositiveInt, schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity


@register("block_predictions")
@schema
class BlockPredictions(Quantity):
    """Classes that linear probes of frozen blocks predict for forget samples: (samples, blocks).

    The probe of each block is trained on the first retain samples and the first forget samples, by
    the recipe of the linear probe. Inputs are standardised by these samples and divided by the root
    of their dimension, so that one learning rate suits every block; constant inputs become 0.

    Attributes:
        samples: at most this many retain samples, and as many forget samples.
        shots: forget samples that probes are trained on, at most half of the forget set.
        epochs: of the training of each probe.
    """

    tiny: ClassVar[Fields] = {"epochs": 2}

    samples: PositiveInt = 5_000
    shots: NonNegativeInt = 100
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 100

    def observe(self, inference: Inference) -> Observation:
        """One column per block; the first `shots_of` rows are samples that the probes have seen.

        Raises:
            NonFiniteLoss: an output, or a probe's training, became NaN or infinite.
            DataError: the retain set is empty.
        """
        retain, forget = (
            inference.block_features(part, self.samples) for part in ("retain", "forget")
        )
        shots = self.shots_of(inference.size("forget"))
        labels = torch.cat(
            [
                inference.labels("retain")[: self.samples],
                inference.labels("forget")[:shots],
            ]
        )
        recipe = Recipe(epochs=self.epochs, learning_rate=1.0, weight_decay=0.0, last_batch="drop")
        predicted = []
        for name, known in retain.items():
            inputs, others = _standardised(torch.cat([known, forget[name][:shots]]), forget[name])
            logits = inference.probe_logits(inputs, labels, others, recipe)
            predicted.append(logits.argmax(dim=1))
        return Observation({"forget": torch.stack(predicted, dim=1)})

    def shots_of(self, size: int) -> int:
        """Number of forget samples that probes are trained on.

        Args:
            size: of the forget set.
        """
        return min(self.shots, min(self.samples, size) // 2)


def _standardised(
    known: Float[Tensor, "n d"], others: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    rows = known.double()
    mean = rows.mean(dim=0)
    deviation = (rows - mean).square().mean(dim=0).sqrt()
    constant = deviation <= 1e-12 * mean.abs() + 1e-12
    factor = (deviation.masked_fill(constant, 1.0) * known.shape[1] ** 0.5).reciprocal()
    factor = factor.masked_fill(constant, 0.0)
    first, second = (((each.double() - mean) * factor).float() for each in (known, others))
    return first, second
