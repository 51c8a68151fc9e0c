"""Base class of forget sets that name classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Strict

from unlearn_ray.core.errors import DataError, listed, shown
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet
from unlearn_ray.data.sample_names import find_class

Class = Annotated[int, Strict()] | Annotated[str, Strict()]


@schema
class NamedClasses(ForgetSet):
    """A forget set of some classes, which `check` looks up.

    Attributes:
        classes: names, in quotes if they look like numbers, or label numbers. A number is
            refused if it is also the name of a class with another label: among folders named 1 to
            12, which are sorted as text, the folder 2 has label 4.
    """

    classes: tuple[Class, ...]

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look up the names."""
        if not info.class_names:
            raise DataError(
                self._shown,
                "the dataset's images are unlabelled",
                "forget samples instead, with random or ids",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = sorted(
            {find_class(given, info.class_names) for given in self.classes}
        )

    def named_classes(self) -> tuple[int, ...]:
        """Their labels, sorted.

        Raises:
            DataError: `check` has not looked up the names.
        """
        if "_checked" in self.__dict__:
            return tuple(self.__dict__["_checked"])
        numbers = {given for given in self.classes if isinstance(given, int)}
        if any(isinstance(given, str) for given in self.classes):
            raise DataError(
                self._shown,
                "names have no label numbers until they are looked up in a dataset",
                "call check() first",
            )
        return tuple(sorted(numbers))

    @property
    def _shown(self) -> str:
        return f"classes = [{listed(shown(str(given)) for given in self.classes)}]"
