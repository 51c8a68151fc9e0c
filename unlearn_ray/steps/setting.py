"""`Setting`: what all steps of a sweep share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import NonNegativeInt, schema
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.measure.probe import Probe
from unlearn_ray.models.base import Model
from unlearn_ray.train.sparsity import Sparsity

Fraction = Annotated[float, Field(gt=0, lt=1)]


@schema
class Setting:
    """The problem of a sweep: data, model, how both are trained, and the probe that measures them.

    Attributes:
        validation: how many training images are held out of all training: a count, or a
            fraction of the training set.
        training: the recipe of pretraining and retraining.
        sparsity: null for dense models; else both reference models are sparse, and pruned
            weights stay zero under every method.
    """

    dataset: Dataset
    validation: NonNegativeInt | Fraction = 0.1
    forget_set: ForgetSet
    model: Model
    family: Family
    training: Recipe = Recipe()
    sparsity: Sparsity | None = None
    probe: Probe = Probe()
