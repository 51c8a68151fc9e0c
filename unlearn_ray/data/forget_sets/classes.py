"""Forget whole classes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.named_classes import Class, NamedClasses


@register("classes")
@schema
class Classes(NamedClasses):
    """All training samples of some classes."""

    whole_classes: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {"classes": (0,)}

    classes: Annotated[tuple[Class, ...], Field(min_length=1)]

    def identity(self) -> dict[str, Any]:
        """The label numbers, so that it does not matter how a class is written."""
        return {"name": self.name, "labels": list(self.named_classes())}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look up the names; some class must be left to retain."""
        super().check(info, validation_size)
        if len(self.named_classes()) == len(info.class_names):
            raise DataError(
                self._shown,
                f"leaves nothing to retain: the dataset has {len(info.class_names)} classes",
                "forget fewer classes",
            )

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The samples with one of these labels."""
        return order[np.isin(labels[order], self.named_classes())]
