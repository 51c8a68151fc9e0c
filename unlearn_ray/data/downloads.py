"""torchvision's downloadable datasets, decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData
from unlearn_ray.data.cache import decoded, decoded_labels


@dataclass(frozen=True)
class RemoteFile:
    """A file that torchvision downloads, with the name that it must have on disk."""

    name: str
    url: str
    md5: str


@schema
class Downloaded(Dataset):
    """Base class of torchvision's datasets.

    Attributes:
        folder: of the downloaded files; null: `downloads` in the cache.
    """

    contents: ClassVar[DatasetInfo]

    folder: str | None = None

    def identity(self) -> dict[str, Any]:
        """The name alone: torchvision checks the files' MD5."""
        return {"name": self.name}

    def info(self) -> DatasetInfo:
        """Known without the files."""
        return self.contents

    def load(self, cache: Path) -> ImageData:
        """Download missing files, with progress on standard error, and decode them."""
        folder = cache / "downloads"
        if self.folder:
            folder = expanded(self.folder, "folder", "give the folder of the downloaded files")
        return decoded(
            cache, {**self.identity(), **self.code_identity()}, lambda: self._fetched(folder)
        )

    def known_labels(self) -> Int64[np.ndarray, " train"] | None:
        """Known once the dataset was decoded on this machine."""
        return decoded_labels(cache_folder(), {**self.identity(), **self.code_identity()})

    def remote_files(self) -> tuple[RemoteFile, ...]:
        """The files to be downloaded."""
        raise NotImplementedError

    def read(self, folder: str) -> ImageData:
        """Download missing files into `folder`, and decode them."""
        raise NotImplementedError

    def _fetched(self, folder: Path) -> ImageData:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return self.read(str(folder))
        except (OSError, EOFError, HTTPException) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise self._missing(folder, f"cannot be downloaded: {reason}") from error
        except RuntimeError as error:
            # torchvision: the MD5 of a file on disk or of a download is wrong.
            raise self._missing(folder, f"incomplete or damaged: {error}") from error

    def _missing(self, folder: Path, reason: str) -> DataError:
        files = self.remote_files()
        what = ", ".join(f"{file.url} (MD5 {file.md5})" for file in files)
        return DataError(
            f"dataset {self.name}: {', '.join(file.name for file in files)} in {folder}",
            reason,
            f"delete damaged files, download {what} where there is a network, and put them into "
            f"{folder}",
        )


def read_cifar(torchvision_class: Any, folder: str) -> ImageData:
    """CIFAR-10 or CIFAR-100, read by torchvision's class."""
    train = torchvision_class(folder, train=True, download=True)
    test = torchvision_class(folder, train=False, download=True)
    return image_data(train.data, train.targets, test.data, test.targets)


def image_data(
    train_images: np.ndarray,
    train_labels: Sequence[int] | np.ndarray,
    test_images: np.ndarray,
    test_labels: Sequence[int] | np.ndarray,
) -> ImageData:
    """Images (N, H, W, 3) with labels of any integer type."""
    return ImageData(
        train_images,
        np.asarray(train_labels, dtype=np.int64),
        test_images,
        np.asarray(test_labels, dtype=np.int64),
    )
