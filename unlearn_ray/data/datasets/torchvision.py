"""Any image classification dataset of torchvision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int64, UInt8
from pydantic import Field

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import DataError, did_you_mean, listed
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import Arguments, schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.adapted_dataset import AdaptedDataset, Content
from unlearn_ray.data.base import ImageData
from unlearn_ray.data.threads import in_threads

# As the classes spell them; a class without `train` is asked for these values of `split`.
_TRAIN_SPLITS = ("train", "trainval")
_TEST_SPLITS = ("test", "val", "valid")
_NO_TEST_SET = (
    "name the arguments of its training and test set (train: {split: ...}, test: {split: ...}), or "
    "sort its images into folders, for image_folder"
)


@register("torchvision")
@schema
class Torchvision(AdaptedDataset):
    """Any image classification dataset of torchvision: FashionMNIST, STL10, Food101, GTSRB ...

        torchvision: {dataset: FashionMNIST}
        torchvision: {dataset: EMNIST, options: {split: letters}}
        torchvision: {dataset: DTD, image_size: 96, test: {split: val}}

    - The training set is the class's train=True, or its split "train" or, if it has none,
      "trainval"; the test set train=False, or its split "test", "val" or "valid".
    - Pixels are those of torchvision's class, in RGB.
    - A sample is named by its position in torchvision's training set.

    Attributes:
        dataset: name of a class of torchvision.datasets.
        folder: its `root`, with the files as the class wants them; null: a folder in the
            cache, to which they are downloaded.
        options: further arguments of the class, for both sets.
        train, test: those of one set alone, in place of the class's own spelling.
    """

    dataset: Annotated[str, Field(pattern=r"^\w+$")]
    folder: str | None = None
    options: Arguments = field(default_factory=dict, hash=False)
    train: Arguments | None = field(default=None, hash=False)
    test: Arguments | None = field(default=None, hash=False)

    def source(self, cache: Path) -> Path:
        """`folder`, or one in the cache."""
        if self.folder is None:
            return cache / "downloads" / self.dataset
        remedy = "give the folder of the dataset's files"
        return expanded(self.folder, "folder", remedy).absolute()

    def opened(self, folder: Path) -> Callable[[], Content]:
        """Both sets, as torchvision's class finds or downloads them."""
        cls = self._class()
        sets = [self._set(cls, folder, which) for which in ("train", "test")]
        return partial(self._decode_both, *sets)

    def _class(self) -> Any:
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision import datasets

        known = {name for name in datasets.__all__ if name != "VisionDataset"}
        cls = getattr(datasets, self.dataset, None) if self.dataset in known else None
        if not (isinstance(cls, type) and issubclass(cls, datasets.VisionDataset)):
            raise DataError(
                f"torchvision.dataset = {self.dataset}",
                "torchvision has no dataset of this name",
                did_you_mean(self.dataset, known),
            )
        return cls

    def _set(self, cls: Any, folder: Path, which: str) -> Any:
        """The training or test set, undecoded."""
        known = _arguments(cls)
        fixed: dict[str, Any] = {"root": str(folder)} if "root" in known else {}
        if "download" in known:
            fixed["download"] = True
        choices = self._choices(known, which)
        for number, choice in enumerate(choices, 1):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                return cls(**{**fixed, **self.options, **choice})
            except ValueError as error:
                # No such split.
                if number == len(choices):
                    raise self.error(which, reason_of(error), "correct the options") from error
            except TypeError as error:
                takes = f"it takes {listed(known, 20)}"
                raise self.error(which, reason_of(error), takes) from error
            except (OSError, EOFError, HTTPException) as error:
                reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
                raise self._missing(which, folder, f"cannot be downloaded: {reason}") from error
            except (RuntimeError, ImportError) as error:
                # Missing files, a wrong MD5, or a package that the class needs.
                raise self._missing(which, folder, reason_of(error)) from error
        raise AssertionError("there is a choice")

    def _choices(self, known: Collection[str], which: str) -> list[Mapping[str, Any]]:
        """Arguments to try, one after the other."""
        given = self.train if which == "train" else self.test
        if given is not None:
            return [given]
        if "train" in known:
            return [{"train": which == "train"}]
        if "split" in known:
            splits = _TRAIN_SPLITS if which == "train" else _TEST_SPLITS
            return [{"split": split} for split in splits]
        raise self.error(which, "it is not divided into training and test set", _NO_TEST_SET)

    def error(self, which: str, reason: str, remedy: str) -> DataError:
        """An error about one of the sets."""
        what = {"train": "training set", "test": "test set"}[which]
        return DataError(f"torchvision's {self.dataset}, {what}", reason, remedy)

    def _missing(self, which: str, folder: Path, reason: str) -> DataError:
        return self.error(
            which,
            reason,
            f"copy its files into {folder}, as torchvision downloads or expects them, from a "
            "machine that has them; delete damaged ones",
        )

    def _decode_both(self, train: Any, test: Any) -> Content:
        size = self.image_size or self._size_of(train)
        images, labels = self._decoded_set(train, "train", size)
        test_images, test_labels = self._decoded_set(test, "test", size)
        count = int(max(labels.max(), test_labels.max())) + 1
        names = _class_names(train, count)
        total = hashlib.sha256(json.dumps(names).encode())
        for array in (images, labels, test_images, test_labels):
            total.update(repr((array.dtype.str, array.shape)).encode())
            total.update(array.reshape(-1).view(np.uint8).data)
        data = ImageData(images, labels, test_images, test_labels)
        return Content(data, names, total.hexdigest())

    def _size_of(self, train: Any) -> int:
        image, _ = _Pairs(self, train, "train")[0]
        return int(image.size[0])

    def _decoded_set(
        self, given: Any, which: str, size: int
    ) -> tuple[UInt8[np.ndarray, "n size size 3"], Int64[np.ndarray, " n"]]:
        # It imports Pillow, which planning from the cache does not need.
        from unlearn_ray.data.image_decoding import resized_pixels

        pairs = _Pairs(self, given, which)
        images = np.empty((len(given), size, size, 3), dtype=np.uint8)

        def one(number: int) -> int:
            image, label = pairs[number]
            if self.image_size is None and image.size != (size, size):
                raise DataError(
                    "torchvision.image_size = null",
                    f"image {number:,} of the {which} set of {self.dataset} has {image.size[0]} x "
                    f"{image.size[1]} pixels, and the first is {size} wide",
                    "set image_size",
                )
            images[number] = resized_pixels(image, size, self.resize)
            return label

        labels = np.fromiter(in_threads(one, list(range(len(given))), "decoded"), np.int64)
        return images, labels


@dataclass(frozen=True)
class _Pairs:
    """A set's images and labels.

    Attributes:
        part: that reads it, for errors.
        given: torchvision's dataset.
        which: set.
    """

    part: Torchvision
    given: Any
    which: str

    def __post_init__(self) -> None:
        if not len(self.given):
            raise self.part.error(self.which, "it is empty", "choose another part of it")

    def __getitem__(self, number: int) -> tuple[Any, int]:
        from PIL import Image

        try:
            item = self.given[number]
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            reason = f"image {number:,} cannot be read: {reason_of(error)}"
            raise self.part.error(self.which, reason, "repair its files") from error
        image, label = item if isinstance(item, tuple) and len(item) == 2 else (None, None)
        scalar = np.asarray(label) if image is not None else np.empty(0)
        if not isinstance(image, Image.Image) or scalar.shape or scalar.dtype.kind not in "iu":
            raise self.part.error(
                self.which,
                f"it is no image classification: a sample is ({_shape(item)}), not an image and a "
                "label",
                "choose another dataset, or options that make its target one label",
            )
        if int(scalar) < 0:
            raise self.part.error(
                self.which, f"image {number:,} is unlabelled", "choose a labelled part of it"
            )
        return image, int(scalar)


def _arguments(cls: type) -> list[str]:
    """The arguments of a class, with those that it hands on to its bases as **kwargs."""
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = [*signature(base.__init__).parameters.values()][1:]  # type: ignore[misc]
        handed_on = any(one.kind is Parameter.VAR_KEYWORD for one in own)
        found |= dict.fromkeys(one.name for one in own if one.kind is not Parameter.VAR_KEYWORD)
        if not handed_on:
            break
    return [*found]


def _shape(item: Any) -> str:
    return ", ".join(type(each).__name__ for each in item) if isinstance(item, tuple) else "?"


def _class_names(train: Any, count: int) -> tuple[str, ...]:
    """As torchvision's class lists them; else the label numbers."""
    for attribute in ("classes", "categories"):
        names = getattr(train, attribute, None)
        if isinstance(names, list | tuple) and len(names) >= count:
            return tuple(", ".join(n) if isinstance(n, tuple) else str(n) for n in names)
    return tuple(map(str, range(count)))
