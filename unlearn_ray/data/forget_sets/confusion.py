"""Interclass confusion: samples of two classes are trained on with each other's label.

Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022 (2201.06640).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field, model_validator

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.named_classes import Class, NamedClasses


@register("confusion")
@schema
class Confusion(NamedClasses):
    """Samples of two classes whose labels are swapped before training; these are forgotten.

    The original, and methods where they read the forget set, see the wrong labels. The retrained
    model never sees these samples. What is measured compares with the true labels: accuracy on the
    forget set is low for the original, and the metric `confusion` counts how often test samples
    of one class are taken for the other.

    As in the authors' code, the same number of each class is swapped; here the first of each class
    in the seed's permuted order, after the validation set, whose labels stay true.

    Attributes:
        classes: both.
        count: number of samples of each class.
        fraction: of the samples of each class that are trained on, rounded down; instead of a
            count.
    """

    tiny: ClassVar[Fields] = {"classes": (0, 1), "count": 20}

    classes: Annotated[tuple[Class, ...], Field(min_length=2, max_length=2)]
    count: PositiveInt | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Confusion:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give count or fraction, one of both")
        return self

    def identity(self) -> dict[str, Any]:
        """The label numbers and how many, so that it does not matter how a class is written."""
        amount = {"count": self.count} if self.fraction is None else {"fraction": self.fraction}
        return {"name": self.name, "labels": list(self.named_classes()), **amount}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look up the names of two classes; something must be left to retain."""
        super().check(info, validation_size)
        if len(self.named_classes()) < 2:
            raise DataError(self._shown, "both are the same class", "name two classes")
        trained_on, size = info.train_size - validation_size, self.size(info.train_size)
        if size is not None and size >= trained_on:
            raise DataError(
                f"count = {self.count}",
                f"leaves nothing to retain: models are trained on {trained_on:,} samples, and "
                f"{size:,} would be forgotten",
                "swap fewer labels",
            )

    def note(self) -> str:
        """How the original learns them."""
        return "the original is trained on these samples with the label of the other class"

    def size(self, trained_on: int) -> int | None:
        """Number of samples to forget; None for a fraction of the classes' samples."""
        return None if self.count is None else 2 * self.count

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The first of each class.

        Raises:
            DataError: a class has too few samples that are trained on.
        """
        chosen = [
            self._first(label, order[labels[order] == label]) for label in self.named_classes()
        ]
        return order[np.isin(order, np.concatenate(chosen))]

    def training_labels(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " train"]:
        """The true labels, but for the forget samples, which have the other class's."""
        forgotten = self.select(order, labels)
        given = labels.copy()
        given[forgotten] = sum(self.named_classes()) - labels[forgotten]
        return given

    def _first(self, label: int, among: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
        size = int(self.fraction * len(among)) if self.fraction is not None else self.count
        assert size is not None
        given = f"fraction = {self.fraction}" if self.count is None else f"count = {self.count}"
        if size == 0:
            raise DataError(
                f"forget_set {self.name}: {given}",
                f"is less than one of the {len(among):,} samples of label {label}",
                "give a larger fraction",
            )
        if size >= len(among):
            # A retrained model that never saw a class would be confused about it for good.
            raise DataError(
                f"forget_set {self.name}: {given}",
                f"leaves no true label {label}: {len(among):,} samples of it are trained on",
                "swap fewer labels, or hold out fewer for validation",
            )
        return among[:size]
