"""Whether features collapse: families without negatives trained for a while on real images."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import Family
from unlearn_ray.families.similarity import unit_rows
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model, train_from_scratch

DIGITS = Digits(image_size=8)
COUNT = 512
# Ranks below are collapsed. Measured over six data orders and initial weights: 7.0 to 16.1 for both
# families, 1.1 to 2.8 for those robbed of what keeps them from collapsing.
COLLAPSED = 4.5


@cache
def digits() -> ResidentData:
    data = DIGITS.load(cache_folder())
    arrays = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return ResidentData(*(torch.tensor(np.asarray(array)) for array in arrays), 10)


def model_of(family: Family) -> nn.Module:
    return new_model(ResNet8(width=4), family, DIGITS.info(), seed=0)


def rank_after_training(family: Family, model: nn.Module, epochs: int = 8) -> float:
    """Effective rank of projections of test images."""
    recipe = Recipe(epochs=epochs, batch_size=64, learning_rate=0.2, schedule="constant")
    train_from_scratch(
        model, family, recipe, digits(), np.arange(COUNT), seed=1, compute=Compute.cpu()
    )
    images = normalise(digits().test_images, family.augmentation.mean, family.augmentation.std)
    with torch.no_grad():
        return effective_rank(model.projection(model.backbone(images)))


def effective_rank(features: Float[Tensor, "n d"]) -> float:
    """exp of the entropy of the singular values, which sum to 1, of rows of unit length.

    Rows are not centred: collapsed ones are a constant, whose rank is 1, and rounding, whose
    rank may be any.
    """
    values = torch.linalg.svdvals(unit_rows(features.double()))
    shares = [float(value / values.sum()) for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))
