"""Images of classes, with captions that are written of the class: prompts.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP),
ICML 2021, section 3.1.4.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import Field, field_validator

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import (
    NAME,
    TEMPLATES,
    Captions,
    Dataset,
    DatasetInfo,
    ImageData,
    prompts_of,
)
from unlearn_ray.data.loaded import load


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
            every image. A zero-shot classifier reads the same, and takes their mean.
    """

    dataset: Dataset
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = TEMPLATES

    @field_validator("templates")
    @classmethod
    def _name_once(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(NAME) != 1:
                raise ValueError(
                    f"{template!r} must hold {NAME} once, in the place of the class's name"
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

    def known_labels(self) -> Int64[np.ndarray, " train"] | None:
        """Those of the dataset."""
        return self.dataset.known_labels()

    def prompts(self) -> Captions:
        """A class's captions: zero-shot, a model is asked with the words that it was taught."""
        return prompts_of(self.info().class_names, self.templates)

    def load(self, cache: Path) -> ImageData:
        """The dataset's arrays; prompts cost nothing to write anew."""
        prompts, data = self.prompts(), load(self.dataset, cache)
        train, test = (
            tuple(prompts[label] for label in labels.tolist())
            for labels in (data.train_labels, data.test_labels)
        )
        return replace(data, train_captions=train, test_captions=test)
