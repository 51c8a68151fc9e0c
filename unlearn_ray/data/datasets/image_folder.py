"""A person's own images: train/ and test/ folders of one folder for each class."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData
from unlearn_ray.data.cache import cache_folder, decoded, writing
from unlearn_ray.data.image_files import (
    ImageFile,
    decode,
    fingerprint,
    list_images,
    read_digests,
)


@register("image_folder")
@schema
class ImageFolder(Dataset):
    """Images of any size and mode in `path`/train/CLASS/ and `path`/test/CLASS/.

    Every image is stretched to image_size x image_size (bilinear, smoothed when it shrinks);
    its proportions are not kept. A sample's id is its file's position among the sorted names
    of the training files, relative to train/; `train_files.txt` beside the decoded arrays
    lists them, and the forget set `ids` takes either. Hidden files are left out; anything
    else that is not an image is an error.

    Attributes:
        path: the folder; never part of a key: the files' names and bytes are.
        image_size: height and width of the decoded images.
    """

    path: str
    image_size: PositiveInt = 32

    def identity(self) -> dict[str, Any]:
        """What the files hold, wherever they lie."""
        return {"name": self.name, "image_size": self.image_size, "files": self._fingerprint}

    def info(self) -> DatasetInfo:
        """From the names of the files alone."""
        train, test = self._files("train"), self._files("test")
        return DatasetInfo(
            len(train),
            len(test),
            tuple(sorted({file.class_name for file in train})),
            self.image_size,
            tuple(file.name for file in train),
        )

    def load(self, cache: Path) -> ImageData:
        """Decoded with a pool of threads, once for the same files."""
        return decoded(cache, self.identity(), self._decoded, self._texts)

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser().absolute()

    @cached_property
    def _listing(self) -> dict[str, list[ImageFile]]:
        listing = {part: list_images(self._root, part) for part in ("train", "test")}
        train, test = ({file.class_name for file in files} for files in listing.values())
        if train != test:
            only = ", ".join(
                [f"train/{name}" for name in sorted(train - test)]
                + [f"test/{name}" for name in sorted(test - train)]
            )
            raise DataError(
                f"path = {self.path}",
                f"the classes of train/ and test/ differ: {only} has no counterpart",
                "make the same class folders in both",
            )
        return listing

    def _files(self, part: str) -> list[ImageFile]:
        return self._listing[part]

    @cached_property
    def _fingerprint(self) -> str:
        """Read from the cache if no file's size or time of change differs."""
        files = self._files("train") + self._files("test")
        listed = repr([str(self._root), *((f.part, f.name, f.size, f.mtime_ns) for f in files)])
        name = hashlib.sha256(listed.encode()).hexdigest()
        remembered = cache_folder() / "fingerprints" / name
        if remembered.is_file():
            return remembered.read_text()
        found = fingerprint(read_digests(self._root, files))
        with writing(cache_folder()):
            remembered.parent.mkdir(parents=True, exist_ok=True)
            unfinished = remembered.with_name(f".{name}-{os.getpid()}")
            unfinished.write_text(found)
            unfinished.replace(remembered)
        return found

    def _decoded(self) -> ImageData:
        images, digests, labels = {}, [], {}
        classes = sorted({file.class_name for file in self._files("train")})
        for part in ("train", "test"):
            files = self._files(part)
            images[part], read = decode(self._root, files, self.image_size)
            digests += read
            labels[part] = np.array([classes.index(f.class_name) for f in files], dtype=np.int64)
        if fingerprint(digests) != self._fingerprint:
            raise DataError(
                f"path = {self.path}", "its files changed meanwhile", "start the sweep again"
            )
        return ImageData(images["train"], labels["train"], images["test"], labels["test"])

    def _texts(self) -> dict[str, str]:
        names = [file.name for file in self._files("train")]
        return {"train_files.txt": "".join(f"{name}\n" for name in names)}
