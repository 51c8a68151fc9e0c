"""What datasets of a person's own image files share: they are listed, fingerprinted, decoded."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData, ImageSize, Resize
from unlearn_ray.data.cache import cache_folder, decoded, writing
from unlearn_ray.data.image_files import (
    ImageFile,
    Listing,
    decode,
    fingerprint,
    read_digests,
)
from unlearn_ray.data.sample_names import quoted

# Raised when more is looked at in files of which it was remembered what they hold.
_REVISION = 1


@schema
class FileDataset(Dataset):
    """Images of any size and mode in files: what these hold is in a key, never where they lie.

    Attributes:
        image_size: height and width of the decoded images.
        resize: crop: the shorter side becomes image_size, and of the longer one the middle is
            kept; stretch: both sides become image_size, whatever the proportions.
    """

    image_size: ImageSize = 32
    resize: Resize = "crop"

    def list_files(self) -> Listing:
        """The files of the training and the test set.

        Raises:
            DataError: a file or folder is missing or not laid out as expected.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What the files hold, wherever they lie."""
        return {
            "name": self.name,
            "image_size": self.image_size,
            "resize": self.resize,
            "files": self._fingerprint,
        }

    def info(self) -> DatasetInfo:
        """From the names of the files alone."""
        files = self._listing
        return DatasetInfo(
            len(files.train),
            len(files.test),
            files.class_names,
            self.image_size,
            tuple(file.name for file in files.train),
        )

    def known_labels(self) -> Any:
        """From the names of the files alone."""
        return self._labels(self._listing.train)

    def load(self, cache: Path) -> ImageData:
        """Decoded with a pool of threads, once for the same files."""
        return decoded(
            cache, {**self.identity(), **self.code_identity()}, self._decoded, self._texts
        )

    @property
    def _root(self) -> Path:
        """What the paths of the files are relative to."""
        raise NotImplementedError

    @cached_property
    def _listing(self) -> Listing:
        return self.list_files()

    @cached_property
    def _fingerprint(self) -> str:
        """Read from the cache if no file's size or time of change differs."""
        files = [*self._listing.train, *self._listing.test]
        facts = ((f.part, f.name, f.path, f.size, f.mtime_ns) for f in files)
        listed = repr([_REVISION, str(self._root), *facts])
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
        listing = self._listing
        (train, train_digests), (test, test_digests) = (
            decode(self._root, files, self.image_size, self.resize)
            for files in (listing.train, listing.test)
        )
        if fingerprint([*train_digests, *test_digests]) != self._fingerprint:
            raise DataError(
                f"dataset {self.name}", "its files changed meanwhile", "start the sweep again"
            )
        return ImageData(train, self._labels(listing.train), test, self._labels(listing.test))

    def _labels(self, files: list[ImageFile]) -> Any:
        number = {name: label for label, name in enumerate(self._listing.class_names)}
        return np.array([number[file.class_name] for file in files], dtype=np.int64)

    def _texts(self) -> dict[str, str]:
        # As the forget set `ids` reads them.
        names = [quoted(file.name) for file in self._listing.train]
        return {"train_files.txt": "".join(f"{name}\n" for name in names)}


@schema
class FolderDataset(FileDataset):
    """Images of any size and mode in one folder.

    Attributes:
        path: the folder; never part of a key: the files' names and bytes are.
    """

    path: str

    def listed(self, root: Path) -> Listing:
        """The files under `root` of the training and the test set, with the same classes in both.

        Raises:
            DataError: the folder is missing or not laid out as expected.
        """
        raise NotImplementedError

    def list_files(self) -> Listing:
        """Those under `path`."""
        return self.listed(self._root)

    @property
    def _root(self) -> Path:
        return expanded(self.path, "path", "give the folder of the images").absolute()
