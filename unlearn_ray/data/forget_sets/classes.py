"""Forget whole classes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field, Strict

from unlearn_ray.core.errors import DataError, listed, shown
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet
from unlearn_ray.data.sample_names import find_class

Class = Annotated[int, Strict()] | Annotated[str, Strict()]


@register("classes")
@schema
class Classes(ForgetSet):
    """All training samples of some classes.

    Attributes:
        classes: names, in quotes if they look like numbers, or label numbers. A number is
            refused if it is also the name of a class with another label: among folders named 1 to
            12, which are sorted as text, the folder 2 has label 4.
    """

    whole_classes: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"classes": (0,)}

    classes: Annotated[tuple[Class, ...], Field(min_length=1)]

    def identity(self) -> dict[str, Any]:
        """The label numbers, so that it does not matter how a class is written."""
        return {"name": self.name, "labels": self._labels()}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look up the names; some class must be left to retain."""
        if not info.class_names:
            raise DataError(
                self._shown,
                "the dataset's images are unlabelled",
                "forget samples instead, with random or ids",
            )
        labels = sorted({find_class(given, info.class_names) for given in self.classes})
        if len(labels) == len(info.class_names):
            raise DataError(
                self._shown,
                f"leaves nothing to retain: the dataset has {len(info.class_names)} classes",
                "forget fewer classes",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = labels

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The samples with one of these labels."""
        return order[np.isin(labels[order], self._labels())]

    def named_classes(self) -> tuple[int, ...]:
        """Their labels, sorted."""
        return tuple(self._labels())

    @property
    def _shown(self) -> str:
        return f"classes = [{listed(shown(str(given)) for given in self.classes)}]"

    def _labels(self) -> list[int]:
        if "_checked" in self.__dict__:
            checked: list[int] = self.__dict__["_checked"]
            return checked
        numbers = {given for given in self.classes if isinstance(given, int)}
        if any(isinstance(given, str) for given in self.classes):
            raise DataError(
                self._shown,
                "names have no label numbers until they are looked up in a dataset",
                "call check() first",
            )
        return sorted(numbers)
