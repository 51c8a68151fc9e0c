"""`Setting`: what all steps of a sweep share."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import Field

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import NonNegativeInt, schema
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.data.splits import Masks
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

    @property
    def masks(self) -> Masks | None:
        """The masks of a bank's models, in place of the forget set."""
        return None

    @property
    def forgotten(self) -> ForgetSet | Masks:
        """What determines the forget set."""
        return self.forget_set if self.masks is None else self.masks

    @property
    def relabelling(self) -> ForgetSet | None:
        """What determines the labels that models are trained with; None: they are the true ones."""
        return self.forget_set if self.forget_set.relabels else None


@schema
class BankSetting(Setting):
    """The same problem for the models of a bank, each with a mask of its own.

    Attributes:
        bank: the masks.
    """

    bank: Masks

    @classmethod
    def of(cls, setting: Setting, bank: Masks) -> BankSetting:
        """The setting with these masks in place of its forget set."""
        return cls(
            **{each.name: getattr(setting, each.name) for each in fields(setting)}, bank=bank
        )

    @property
    def masks(self) -> Masks:
        """The masks."""
        return self.bank

    @property
    def relabelling(self) -> None:
        """None: masks replace the forget set, and all labels are the true ones."""
