"""Labelled images with captions made from class names: prompts.

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
    """Another dataset's images, labels and classes, with prompts of the class name as captions.

        prompted: {dataset: cifar100, templates: ["a photo of a {}.", "a picture of a {}."]}

    An underscore in a class name becomes a space in the prompt. The prompts replace any captions
    that the dataset itself has.

    Attributes:
        dataset: a labelled dataset.
        templates: sentences with {} as placeholder of the class name; each gives every image a
            caption. A zero-shot classifier uses the same prompts, and takes their mean embedding.
    """

    dataset: Dataset
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = TEMPLATES

    @field_validator("templates")
    @classmethod
    def _name_once(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(NAME) != 1:
                raise ValueError(
                    f"{template!r} must contain {NAME} exactly once, for the class name"
                )
        return templates

    def info(self) -> DatasetInfo:
        """That of the dataset."""
        info = self.dataset.info()
        if not info.class_names:
            raise DataError(
                f"prompted with {self.dataset.name}",
                "its images are unlabelled, so there are no class names for prompts",
                "use it without prompts, or name a dataset with classes",
            )
        return replace(info, captioned=True)

    def known_labels(self) -> Int64[np.ndarray, " train"] | None:
        """Those of the dataset."""
        return self.dataset.known_labels()

    def prompts(self) -> Captions:
        """The class's captions: zero-shot classification uses the prompts seen in training."""
        return prompts_of(self.info().class_names, self.templates)

    def load(self, cache: Path) -> ImageData:
        """The dataset's arrays, and prompts, which are cheap to rebuild."""
        prompts, data = self.prompts(), load(self.dataset, cache)
        train, test = (
            tuple(prompts[label] for label in labels.tolist())
            for labels in (data.train_labels, data.test_labels)
        )
        return replace(data, train_captions=train, test_captions=test)
