"""Base classes of datasets of the user's own image files: listing, fingerprinting, decoding."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData, ImageSize, Resize
from unlearn_ray.data.cache import decoded, writing
from unlearn_ray.data.image_files import (
    ImageFile,
    Listing,
    decode,
    fingerprint,
    read_digests,
)
from unlearn_ray.data.sample_names import quoted

# Incremented when files are checked for more, so that remembered fingerprints no longer count.
_REVISION = 1


@schema
class FileDataset(Dataset):
    """Images of any size and mode in files; keys cover their content, never their paths.

    Attributes:
        image_size: height and width of the decoded images.
        resize: "crop" resizes the shorter side to image_size and crops the centre; "stretch"
            resizes both sides to image_size, whatever the aspect ratio.
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
        """The files' content, wherever they are stored."""
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
        """Decoded by a thread pool, once for the same files."""
        return decoded(
            cache, {**self.identity(), **self.code_identity()}, self._decoded, self._texts
        )

    @property
    def _root(self) -> Path:
        """The folder that the files' paths are relative to."""
        raise NotImplementedError

    @cached_property
    def _listing(self) -> Listing:
        return self.list_files()

    @cached_property
    def _fingerprint(self) -> str:
        """Read from the cache if no file's size or modification time has changed."""
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
        path: the folder. Keys cover the files' names and bytes, never this path.
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
