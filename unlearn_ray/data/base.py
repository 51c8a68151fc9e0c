"""Contracts of datasets and forget sets, and the parts of a dataset under one seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64, UInt8
from pydantic import Field

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema

# Height and width of decoded images. Nobody trains on larger ones; a slip of the pen fills disks.
ImageSize = Annotated[int, Field(gt=0, le=2048)]
# The shorter side becomes the size, and of the longer one the middle is kept; or both become it.
Resize = Literal["crop", "stretch"]

Captions = tuple[tuple[str, ...], ...]

# Where a class's name stands in a prompt.
NAME = "{}"
TEMPLATES = (f"a photo of a {NAME}.",)


@dataclass(frozen=True)
class DatasetInfo:
    """What can be known of a dataset without decoding it.

    Attributes:
        train_size: number of training images; sample ids are 0 .. train_size - 1.
        test_size: number of test images.
        class_names: in the order of the labels; empty if the images are of no classes, and then
            every label is 0.
        image_size: height and width in pixels.
        sample_names: of the training images, in the order of their ids; empty if they have
            none. Where they have, a person names a sample by it and never by its place.
        sample_ids: what the dataset itself numbers the training images by, likewise, as text:
            COCO's image ids.
        captioned: whether every image has captions.
    """

    train_size: int
    test_size: int
    class_names: tuple[str, ...]
    image_size: int
    sample_names: tuple[str, ...] = ()
    sample_ids: tuple[str, ...] = ()
    captioned: bool = False


@dataclass(frozen=True)
class ImageData:
    """A decoded dataset; the arrays may be memory-mapped and are never written to.

    Attributes:
        train_images, test_images: uint8, (N, H, W, 3), RGB.
        train_labels, test_labels: int64, (N,).
        train_captions, test_captions: of every image one or more; empty for a dataset without.
    """

    train_images: UInt8[np.ndarray, "train height width 3"]
    train_labels: Int64[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test height width 3"]
    test_labels: Int64[np.ndarray, " test"]
    train_captions: Captions = ()
    test_captions: Captions = ()


def prompts_of(names: Iterable[str], templates: Sequence[str]) -> Captions:
    """Every template with each class's name; an underscore in a name is a space."""
    spaced = [name.replace("_", " ") for name in names]
    return tuple(tuple(text.replace(NAME, name) for text in templates) for name in spaced)


@schema
class Dataset(Part):
    """Contract of a dataset: train and test images of one size, with labels, captions or both.

    A dataset from outside this package is named in keys by what `load` and `prompts` give, too:
    it is loaded while a sweep is planned, once in a process for the same fields, and what a
    worker loads is held against that. So `load` must give the same each time, and must not ask
    for the dataset's own key.
    """

    kind: ClassVar[str] = "dataset"
    room: ClassVar[str] = "unlearn_ray.data.datasets"

    def info(self) -> DatasetInfo:
        """Sizes and class names, quickly: no download, no decoding.

        Raises:
            DataError: a folder that the fields name is missing or not laid out as expected.
        """
        raise NotImplementedError

    def known_labels(self) -> Int64[np.ndarray, " train"] | None:
        """Labels of the training set, where they are known without decoding it."""
        return None

    def prompts(self) -> Captions:
        """What a model that reads captions tells each class by, in the order of the classes."""
        return prompts_of(self.info().class_names, TEMPLATES)

    def load(self, cache: Path) -> ImageData:
        """The decoded images, from `cache` after the first time.

        Raises:
            DataError: files are missing and cannot be downloaded; the message names them and
                where to put them.
        """
        raise NotImplementedError

    def read_content(self) -> dict[str, Any]:
        """What `load` gives."""
        # It needs this contract.
        from unlearn_ray.data.loaded import fingerprint

        return {"data": fingerprint(self)}


@schema
class ForgetSet(Part):
    """Contract of a forget set: which training samples are to be forgotten.

    Class attributes:
        whole_classes: whether no sample of a forgotten one's class is retained, by definition.
        reads_labels: whether `select` looks at labels.
    """

    kind: ClassVar[str] = "forget_set"
    whole_classes: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True
    room: ClassVar[str] = "unlearn_ray.data.forget_sets"

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Refuse, while planning, what this dataset cannot give.

        A forget set that names classes or files looks their numbers up here and keeps them, so
        that `identity` and `select` need no dataset, on whatever machine they are asked.

        Raises:
            DataError: more samples than there are, an unknown class, an id out of range ...
        """
        raise NotImplementedError

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The ids to forget, as a subset of `order`.

        Args:
            order: ids of all trained-on samples (validation excluded), in the seed's
                permuted order.
            labels: labels of the whole training set, indexed by id.
        """
        raise NotImplementedError

    def size(self, trained_on: int) -> int | None:
        """Number of samples to forget; None if only the data, or a seed, can tell.

        Args:
            trained_on: samples that the original is trained on.
        """
        return None

    def named_ids(self) -> Int64[np.ndarray, " k"] | None:
        """The ids that a person named one by one; None if the forget set follows a rule."""
        return None

    def named_classes(self) -> tuple[int, ...]:
        """The labels of the classes that a person named; none if it was something else."""
        return ()


@dataclass(frozen=True)
class Split:
    """The parts of a training set under one seed: ids, each int64, disjoint, together all."""

    validation: Int64[np.ndarray, " validation"]
    forget: Int64[np.ndarray, " forget"]
    retain: Int64[np.ndarray, " retain"]
