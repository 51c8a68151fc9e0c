"""Forget whole classes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from unlearn_ray.core.errors import DataError, did_you_mean
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet


@register("classes")
@schema
class Classes(ForgetSet):
    """Every trained-on sample of some classes.

    Attributes:
        classes: names or label numbers.
    """

    whole_classes: ClassVar[bool] = True

    classes: Annotated[tuple[int | str, ...], Field(min_length=1)]

    def identity(self) -> dict[str, Any]:
        """The label numbers: a class is the same by whatever name it is called."""
        return {"name": self.name, "labels": self._labels()}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look the names up; some class must be left to retain."""
        if not info.class_names:
            raise DataError(
                f"classes = {list(self.classes)}",
                "the dataset's images are of no classes",
                "forget samples, by random or ids",
            )
        labels = sorted({_label(given, info) for given in self.classes})
        if len(labels) == len(info.class_names):
            raise DataError(
                f"classes = {list(self.classes)}",
                f"leaves nothing to retain: the dataset has {len(info.class_names)} classes",
                "forget fewer classes",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = labels

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The samples whose label is among the classes."""
        return order[np.isin(labels[order], self._labels())]

    def _labels(self) -> list[int]:
        if "_checked" in self.__dict__:
            checked: list[int] = self.__dict__["_checked"]
            return checked
        numbers = {given for given in self.classes if isinstance(given, int)}
        if any(isinstance(given, str) for given in self.classes):
            raise DataError(
                f"classes = {list(self.classes)}",
                "names have no label numbers before they were looked up in a dataset",
                "call check() first",
            )
        return sorted(numbers)


def _label(given: int | str, info: DatasetInfo) -> int:
    count = len(info.class_names)
    if isinstance(given, str):
        if given not in info.class_names:
            raise DataError(
                f"classes = {given!r}",
                "the dataset has no such class",
                did_you_mean(given, info.class_names),
            )
        return info.class_names.index(given)
    if not 0 <= given < count:
        raise DataError(
            f"classes = {given}",
            f"the dataset has {count} classes",
            f"give a label number from 0 to {count - 1}, or a class name",
        )
    return given
