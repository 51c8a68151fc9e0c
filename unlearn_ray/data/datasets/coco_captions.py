"""Images with captions in the format of COCO Captions.

Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server" (1504.00325).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.base import Captions, DatasetInfo, ImageData, ImageSize
from unlearn_ray.data.caption_files import Captioned, list_captioned, read_captions
from unlearn_ray.data.folder_dataset import FileDataset
from unlearn_ray.data.image_files import ImageFile, Listing


@dataclass(frozen=True)
class _Contents:
    listing: Listing
    train_ids: tuple[str, ...]
    captions: str


@register("coco_captions")
@schema
class CocoCaptions(FileDataset):
    """Images of any size and mode, with captions from two JSON files.

    Any dataset in COCO's format will do; COCO itself, unpacked in coco/, is

        coco_captions:
          train_captions: coco/annotations/captions_train2017.json
          test_captions: coco/annotations/captions_val2017.json
          train_images: coco/train2017
          test_images: coco/val2017

    - Every image has one or more captions; runs of white space count as one space.
    - Images are unlabelled, so forget sets are drawn at random or listed sample by sample, and
      parts that need labels are refused.
    - Images are decoded and resized as by `image_folder`.
    - A sample is named by its image id or its file name, as in train_captions, never by its
      position. `train_files.txt` next to the decoded arrays lists the files by position (sorted).

    Attributes:
        train_captions, test_captions: paths of the JSON files; keys cover their content, not
            their paths.
        train_images, test_images: folders of their images; null: one folder holds both.
        image_size: height and width of the decoded images.
    """

    revision: ClassVar[int] = 2

    train_captions: str
    test_captions: str
    train_images: str
    test_images: str | None = None
    image_size: ImageSize = 224

    def identity(self) -> dict[str, Any]:
        """The content of images and captions, wherever they are stored."""
        return {**super().identity(), "captions": self._contents.captions}

    def info(self) -> DatasetInfo:
        """From the caption files and the names of the images."""
        ids = self._contents.train_ids
        return replace(super().info(), class_names=(), captioned=True, sample_ids=ids)

    def list_files(self) -> Listing:
        """The images that have captions."""
        return self._contents.listing

    @property
    def _root(self) -> Path:
        return Path("/")

    @cached_property
    def _contents(self) -> _Contents:
        # The captions themselves would be sent along with this dataset.
        train, test = self._read()
        other = self.test_images or self.train_images
        listing = Listing(
            list_captioned(
                "train", _folder(self.train_images, "train_images"), [*train], self.train_captions
            ),
            list_captioned("test", _folder(other, "test_images"), [*test], self.test_captions),
        )
        ids = tuple(image.number for image in train.values())
        return _Contents(listing, ids, _digest(train, test))

    def _read(self) -> tuple[dict[str, Captioned], dict[str, Captioned]]:
        return (
            read_captions(self.train_captions, "train_captions"),
            read_captions(self.test_captions, "test_captions"),
        )

    def _decoded(self) -> ImageData:
        images = super()._decoded()
        train, test = self._read()
        if _digest(train, test) != self._contents.captions:
            raise DataError(
                f"dataset {self.name}", "its captions changed meanwhile", "start the sweep again"
            )
        return replace(images, train_captions=_captions(train), test_captions=_captions(test))

    def _labels(self, files: list[ImageFile]) -> Any:
        return np.zeros(len(files), dtype=np.int64)


def _folder(given: str, field: str) -> Path:
    return expanded(given, field, "give the folder of the images").absolute()


def _captions(by_name: dict[str, Captioned]) -> Captions:
    return tuple(image.captions for image in by_name.values())


def _digest(*parts: dict[str, Captioned]) -> str:
    """Digest of names and captions; ids change no result."""
    captions = [{name: image.captions for name, image in part.items()} for part in parts]
    return hashlib.sha256(json.dumps(captions).encode()).hexdigest()
