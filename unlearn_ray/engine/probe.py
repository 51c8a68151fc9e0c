"""The linear probe: a classifier on frozen features."""

from __future__ import annotations

from typing import Literal

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, schema


@schema
class Probe(Recipe):
    """A linear classifier trained on the retain set's features (MUC, appendix A.2).

    Attributes:
        features: "cached" trains on features of the unaugmented images, extracted once;
            "augmented" is the paper's: each epoch runs the frozen encoder on a padded crop
            and a flip of every image.
    """

    epochs: NonNegativeInt = 100
    learning_rate: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    features: Literal["cached", "augmented"] = "cached"
