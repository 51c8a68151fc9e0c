"""`Description`: what must be known of a stored model to build and to feed it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.restore import changed, restore
from unlearn_ray.data.base import Dataset
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.families.clip import CLIP
from unlearn_ray.models.base import Model
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.storage.stored import Count, Schema, stored

Output = Literal["logits", "features", "embeddings"]
Channels = tuple[float, float, float]


@stored
class Description:
    """A model's architecture, and the images that it takes.

    Attributes:
        model, family: the content of both parts: name, revision and every field.
        sparse: whether it carries the masks of its pruned weights.
        image_size: height and width of its images in pixels.
        class_names: in the order of its logits; empty if its images are unlabelled.
        mean, std: of each channel of images in [0, 1], for normalisation.
        output: `logits` of a classifier; `features` of an encoder's backbone, without the head
            that it was trained with; `embeddings` of images in the space of captions.
    """

    model: dict[str, Any]
    family: dict[str, Any]
    sparse: bool
    image_size: Count
    class_names: tuple[str, ...]
    mean: Channels
    std: Channels
    output: Output

    def parts(self) -> tuple[Model, Family]:
        """Both parts.

        Raises:
            ConfigError: one is not loaded here, or it has other fields now.
        """
        return restore(Model, self.model), _family(self.family)

    def changes(self) -> list[str]:
        """How the code of both parts differs from the recorded one, in words."""
        model, family = self.parts()
        return [text for text in (changed(model, self.model), changed(family, self.family)) if text]

    def to_json(self) -> dict[str, Any]:
        """The fields, for `described`."""
        return asdict(self)


_SCHEMA: Schema[Description] = Schema(
    Description, "description of a model", "export the model again"
)


def described(name: str, fields: Mapping[str, Any]) -> Description:
    """The description with these fields, which come from the object `name`.

    Raises:
        CorruptObject: they are none.
    """
    return _SCHEMA.parse(name, json.dumps(fields).encode())


def description_of(record: Record, store: Store) -> Description:
    """The description of the model that a step left.

    Raises:
        ConfigError: a part is not loaded here.
        CorruptObject: the record does not say what the model is.
        DataError: the record is of an earlier version, which did not say its classes, and the
            dataset's files are not on this machine.
    """
    first = trained_first(record, store)
    family = _family(first.config["family"])
    size, names = _images(first)
    return Description(
        model=first.config["model"],
        family=first.config["family"],
        sparse=first.config.get("sparsity") is not None,
        image_size=size,
        class_names=names,
        mean=family.augmentation.mean,
        std=family.augmentation.std,
        output=_output(family),
    )


def trained_first(record: Record, store: Store) -> Record:
    """The record of the step whose config names the model and the data: the original's.

    Raises:
        CorruptObject: there is none.
    """
    while not {"model", "family", "dataset"} <= record.config.keys():
        key = record.inputs.get("original")
        kinds = store.kinds()
        before = store.record(kinds[key], key) if key is not None and key in kinds else None
        if before is None:
            raise CorruptObject(
                f"record of {record.kind} {record.key}",
                "neither it nor the original that it started from says what the model is",
                "run the sweep again",
            )
        record = before
    return record


def _family(content: Mapping[str, Any]) -> Family:
    # Content names the checkpoint that training started from by its digest.
    started = {"checkpoint": None} if content.get("name") == CLIP.name else {}
    return restore(Family, content, **started)


def _output(family: Family) -> Output:
    if isinstance(family, ClassifierFamily):
        return "logits"
    return "embeddings" if family.reads_captions else "features"


def _images(record: Record) -> tuple[int, tuple[str, ...]]:
    if "image_size" in record.result:
        names = record.value("class_names", list[str])
        return record.value("image_size", int), tuple(names)
    info = restore(Dataset, record.config["dataset"]).info()
    return info.image_size, info.class_names
