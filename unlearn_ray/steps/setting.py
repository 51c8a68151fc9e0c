"""`Setting`: what all steps of a sweep share."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import NonNegativeInt, field_values, schema
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.data.splits import Masks, kept_in_training
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.brought import Checkpoint, Original, Role
from unlearn_ray.measure.probe import Probe
from unlearn_ray.models.base import Model
from unlearn_ray.train.sparsity import Sparsity

Fraction = Annotated[float, Field(gt=0, lt=1)]
# The retrained model: trained by the sweep, brought, or missing.
Retrained = Literal["train", "none"] | Checkpoint
# Fields that later versions of a setting have; at these values they are not part of any key.
_UNUSED: dict[str, object] = {"original": None, "retrained": "train"}


@schema
class Setting:
    """The problem of a sweep: data, model, how both are trained, and the probe that measures them.

    Attributes:
        dataset, forget_set, model, family: parts: the data, what of it is forgotten, the network,
            and its criterion.
        validation: how many training images are held out of all training: a count, or a
            fraction of the training set.
        training: the recipe of pretraining and retraining.
        sparsity: null for dense models; else both reference models are sparse, and pruned
            weights stay zero under every method.
        probe: the linear classifier that measures an encoder's features.
        original: a trained model in place of pretraining; null trains it.
        retrained: the retrained models: train, {checkpoint: ...}, or none: nothing is compared
            with retraining, and rows hold values alone.
    """

    dataset: Dataset
    validation: NonNegativeInt | Fraction = 0.1
    forget_set: ForgetSet
    model: Model
    family: Family
    training: Recipe = Recipe()
    sparsity: Sparsity | None = None
    probe: Probe = Probe()
    original: Original | None = None
    retrained: Retrained = "train"

    def identity(self) -> dict[str, Any]:
        """What keys cover: all fields that are in use."""
        given = field_values(self)
        return {
            name: value
            for name, value in given.items()
            if name not in _UNUSED or value != _UNUSED[name]
        }

    def brought(self, role: Role) -> Checkpoint | None:
        """The weights of a reference model that is not trained here."""
        if role == "original":
            return self.original
        return self.retrained if isinstance(self.retrained, Checkpoint) else None

    @property
    def compares(self) -> bool:
        """Whether there are retrained models to compare with."""
        return self.retrained != "none"

    @property
    def masks(self) -> Masks | None:
        """The masks of a bank's models, in place of the forget set."""
        return None

    @property
    def forgotten(self) -> ForgetSet | Masks:
        """What determines the forget set."""
        return self.forget_set if self.masks is None else self.masks

    def kept_in_training(self, seed: int) -> tuple[int, ...]:
        """The named samples that change the validation set of a seed, in place of which it has
        others.
        """
        named = None if self.masks is not None else self.forget_set.named_ids()
        if named is None:
            return ()
        size = self.dataset.info().train_size
        return kept_in_training(size, self.validation, seed, named)

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
        """The setting with these masks in place of its forget set; its models are trained."""
        given = {each.name: getattr(setting, each.name) for each in fields(setting)}
        return cls(**{**given, **_UNUSED}, bank=bank)

    @property
    def masks(self) -> Masks:
        """The masks."""
        return self.bank

    @property
    def relabelling(self) -> None:
        """None: masks replace the forget set, and all labels are the true ones."""
