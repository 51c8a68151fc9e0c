"""Contracts of datasets and forget sets, and the parts of a dataset under one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64, UInt8
from pydantic import Field

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema

# Height and width of decoded images. Nobody trains on larger ones, and a typo would fill disks.
ImageSize = Annotated[int, Field(gt=0, le=2048)]
# Resize the shorter side and crop the centre, or stretch both sides.
Resize = Literal["crop", "stretch"]

Captions = tuple[tuple[str, ...], ...]

# Placeholder of the class name in a prompt.
NAME = "{}"
TEMPLATES = (f"a photo of a {NAME}.",)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a dataset without decoding it.

    Attributes:
        train_size: number of training images; sample ids are 0 .. train_size - 1.
        test_size: number of test images.
        class_names: in the order of the labels; empty if the images are unlabelled (then every
            label is 0).
        image_size: height and width in pixels.
        sample_names: names of the training images (file names), in the order of their ids; empty
            if they have none. If they have, users refer to a sample by its name, never by its
            position.
        sample_ids: the dataset's own ids of the training images as text, likewise: COCO's image
            ids.
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
    """A decoded dataset; the arrays may be memory-mapped and are read-only.

    Attributes:
        train_images, test_images: uint8, (N, H, W, 3), RGB.
        train_labels, test_labels: int64, (N,).
        train_captions, test_captions: one or more per image; empty if the dataset has none.
    """

    train_images: UInt8[np.ndarray, "train height width 3"]
    train_labels: Int64[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test height width 3"]
    test_labels: Int64[np.ndarray, " test"]
    train_captions: Captions = ()
    test_captions: Captions = ()


def digest_of(ids: Iterable[int]) -> str:
    """SHA-256 of sample ids, one a line; for keys, since there may be a million."""
    return hashlib.sha256("\n".join(map(str, ids)).encode()).hexdigest()


def prompts_of(names: Iterable[str], templates: Sequence[str]) -> Captions:
    """Each class's prompts: every template with its name, underscores replaced by spaces."""
    spaced = [name.replace("_", " ") for name in names]
    return tuple(tuple(text.replace(NAME, name) for text in templates) for name in spaced)


@schema
class Dataset(Part):
    """Contract of a dataset: train and test images of one size, with labels, captions or both.

    The key of a dataset from outside this package also covers the content that `load` and
    `prompts` return: it is loaded while a sweep is planned, once per process for the same fields,
    and what a worker loads is checked against that. So `load` must be deterministic, and must
    not ask for the dataset's own key.
    """

    kind: ClassVar[str] = "dataset"
    room: ClassVar[str] = "unlearn_ray.data.datasets"

    def info(self) -> DatasetInfo:
        """Sizes and class names, quickly: no download, no decoding.

        Raises:
            DataError: a folder that a field names is missing or not laid out as expected.
        """
        raise NotImplementedError

    def known_labels(self) -> Int64[np.ndarray, " train"] | None:
        """Labels of the training set, if known without decoding it."""
        return None

    def prompts(self) -> Captions:
        """Prompts of each class for zero-shot classification, in the order of the classes."""
        return prompts_of(self.info().class_names, TEMPLATES)

    def load(self, cache: Path) -> ImageData:
        """The decoded images, read from `cache` after the first time.

        Raises:
            DataError: files are missing and cannot be downloaded; the message names them and
                where to put them.
        """
        raise NotImplementedError

    def read_content(self) -> dict[str, Any]:
        """A digest of the content that `load` returns."""
        # That module imports this contract.
        from unlearn_ray.data.loaded import fingerprint

        return {"data": fingerprint(self)}


@schema
class ForgetSet(Part):
    """Contract of a forget set: which training samples are to be forgotten.

    Class attributes:
        whole_classes: whether it always forgets classes as a whole.
        reads_labels: whether `select` uses labels.
    """

    kind: ClassVar[str] = "forget_set"
    whole_classes: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True
    room: ClassVar[str] = "unlearn_ray.data.forget_sets"

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Refuse, while planning, a forget set that this dataset does not have.

        A forget set that names classes or files looks up their numbers here and stores them, so
        that `identity` and `select` need no dataset, on any machine.

        Raises:
            DataError: too many samples, an unknown class, an id out of range ...
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

    def training_labels(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " train"]:
        """The labels that models are trained with, of the whole training set.

        By default the true ones. A forget set that overrides this also names the originals, which
        then differ from those of other forget sets. Only labels of forget samples may differ: the
        retrained model, and whatever is measured, know the true ones alone.

        Args:
            order, labels: as of `select`.
        """
        return labels

    @property
    def relabels(self) -> bool:
        """Whether models are trained with other labels than the true ones."""
        return type(self).training_labels is not ForgetSet.training_labels

    def size(self, trained_on: int) -> int | None:
        """Number of samples to forget; None if it depends on the data or the seed.

        Args:
            trained_on: number of samples that the original is trained on.
        """
        return None

    def named_ids(self) -> Int64[np.ndarray, " k"] | None:
        """The ids that the user named one by one, sorted; None if the forget set follows a rule.

        No seed draws them for validation, so that all of them are forgotten.
        """
        return None

    def note(self) -> str | None:
        """What a plan says of the samples in addition to their classes and number."""
        return None

    def named_classes(self) -> tuple[int, ...]:
        """The labels of the classes that the user named, if any."""
        return ()


@dataclass(frozen=True)
class Split:
    """The parts of a training set under one seed: disjoint int64 ids that together are all.

    Attributes:
        held_out: samples that a bank's mask keeps out of training; methods never see them.
    """

    validation: Int64[np.ndarray, " validation"]
    forget: Int64[np.ndarray, " forget"]
    retain: Int64[np.ndarray, " retain"]
    held_out: Int64[np.ndarray, " held"] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def unseen(self) -> Int64[np.ndarray, " unseen"]:
        """The training images that no model of this split is trained on: validation first."""
        return np.concatenate([self.validation, self.held_out])
