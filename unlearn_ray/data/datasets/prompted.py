"""Images of classes, with captions that are written of the class: prompts.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP),
ICML 2021, section 3.1.4.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Captions, Dataset, DatasetInfo, ImageData

_NAME = "{}"


@register("prompted")
@schema
class Prompted(Dataset):
    """Another dataset's images, labels and classes; its captions are prompts of the class's name.

        prompted: {dataset: cifar100, templates: ["a photo of a {}.", "a picture of a {}."]}

    An underscore in a class's name is a space in the prompt. Captions of the dataset's own give
    way to the prompts.

    Attributes:
        dataset: one with classes.
        templates: sentences with {} in the place of the class's name; each is a caption of
            every image.
    """

    dataset: Dataset
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("a photo of a {}.",)

    @field_validator("templates")
    @classmethod
    def _name_once(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(_NAME) != 1:
                raise ValueError(
                    f"{template!r} must hold {_NAME} once, in the place of the class's name"
                )
        return templates

    def info(self) -> DatasetInfo:
        """That of the dataset."""
        info = self.dataset.info()
        if not info.class_names:
            raise DataError(
                f"prompted with {self.dataset.name}",
                "its images are of no classes that prompts could name",
                "use it without prompts, or name a dataset with classes",
            )
        return replace(info, captioned=True)

    def load(self, cache: Path) -> ImageData:
        """The dataset's arrays; prompts cost nothing to write anew."""
        names = [name.replace("_", " ") for name in self.info().class_names]
        prompts = [tuple(template.replace(_NAME, n) for template in self.templates) for n in names]
        data = self.dataset.load(cache)
        train, test = (
            self._captions(prompts, labels.tolist())
            for labels in (data.train_labels, data.test_labels)
        )
        return replace(data, train_captions=train, test_captions=test)

    def _captions(self, prompts: list[tuple[str, ...]], labels: list[int]) -> Captions:
        return tuple(prompts[label] for label in labels)
