"""Base class of adapters: datasets of which only their files say how many images they have."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Int64

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.core.schema import field_values, schema
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData, ImageSize, Resize
from unlearn_ray.data.cache import (
    decoded,
    is_decoded,
    stored_arrays,
    stored_text,
    writing,
)

_FACTS = "facts.json"


@dataclass(frozen=True)
class Content:
    """What `AdaptedDataset.opened` decodes.

    Attributes:
        data: images, labels, captions.
        class_names: in the order of the labels; empty if the images are unlabelled.
        digest: of everything that `data` and `class_names` derive from.
    """

    data: ImageData
    class_names: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class _Facts:
    """What planning needs of a content."""

    info: DatasetInfo
    digest: str


@schema
class AdaptedDataset(Dataset):
    """Images that another library reads, or wrote; keys cover their content, never a path.

    Their number, size and class names are known once they are read. So planning a sweep decodes
    them, once on each machine; a change of a file's size or time makes it read them again.

    Attributes:
        image_size: height and width of the decoded images; null: those of the images, if all are
            squares of one size.
        resize: "crop" resizes the shorter side to image_size and crops the centre; "stretch"
            resizes both sides to image_size, whatever the aspect ratio.
    """

    image_size: ImageSize | None = None
    resize: Resize = "crop"

    def source(self, cache: Path) -> Path:
        """That holds all files; it need not exist if they can be downloaded.

        Args:
            cache: the cache folder.
        """
        raise NotImplementedError

    def opened(self, folder: Path) -> Callable[[], Content]:
        """Find the files, after downloading those that are missing; the result decodes them.

        Args:
            folder: as of `source`.

        Raises:
            DataError: files are missing, or are not what is expected.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """The content, wherever it is stored."""
        return {
            "name": self.name,
            "image_size": self._facts.info.image_size,
            "resize": self.resize,
            "content": self._facts.digest,
        }

    def info(self) -> DatasetInfo:
        """From the cache, or else from the images, which are then downloaded and decoded."""
        return self._facts.info

    def known_labels(self) -> Int64[np.ndarray, " train"]:
        """From the cache."""
        return self._read(cache_folder())[0].train_labels

    def load(self, cache: Path) -> ImageData:
        """The decoded images, read from `cache` after the first time."""
        data, facts = self._read(cache)
        if facts.digest != self._facts.digest:
            raise DataError(
                f"dataset {self.name} in {self.source(cache)}",
                "other images than when the sweep was planned",
                "put the same files on every machine; if they were changed, start the sweep again",
            )
        return data

    @cached_property
    def _facts(self) -> _Facts:
        # Sent along with this dataset.
        return self._read(cache_folder())[1]

    def _read(self, cache: Path) -> tuple[ImageData, _Facts]:
        folder = self.source(cache)
        state = self._state(folder)
        if not is_decoded(cache, state):
            # Downloads of several processes would overwrite each other.
            with writing(cache):
                locks = cache / "reading"
                locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / f"{content_key([self.name, str(folder)])}.lock"):
                state = self._decoded(cache, folder)
        return stored_arrays(cache, state), _facts(cache, state)

    def _decoded(self, cache: Path, folder: Path) -> dict[str, Any]:
        """Download and decode; the state of the folder then."""
        state = self._state(folder)
        if is_decoded(cache, state):
            return state
        decode = self.opened(folder)
        state = self._state(folder)
        content = decode()
        if state != self._state(folder):
            raise DataError(
                f"dataset {self.name} in {folder}",
                "its files changed while they were read",
                "start the sweep again",
            )
        decoded(cache, state, lambda: content.data, lambda: {_FACTS: _as_json(content)})
        return state

    def _state(self, folder: Path) -> dict[str, Any]:
        """What the decoded images depend on, without opening a file."""
        return {**self.code_identity(), "fields": field_values(self), "files": _files(folder)}


def _as_json(content: Content) -> str:
    data = content.data
    info = DatasetInfo(
        len(data.train_labels),
        len(data.test_labels),
        content.class_names,
        data.train_images.shape[1],
        captioned=bool(data.train_captions),
    )
    return json.dumps({"info": field_values(info), "digest": content.digest})


def _facts(cache: Path, state: dict[str, Any]) -> _Facts:
    stored = json.loads(stored_text(cache, state, _FACTS))
    info: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored["info"].items()
    }
    return _Facts(DatasetInfo(**info), stored["digest"])


def _files(folder: Path) -> str:
    """A digest of names, sizes and times of all files under a folder."""
    return hashlib.sha256(json.dumps(sorted(_walked(folder, ()))).encode()).hexdigest()


def _walked(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int, int]]:
    try:
        status = os.stat(folder)
        number = (status.st_dev, status.st_ino)
        if number in above:
            return  # a link to a folder that it lies in
        for entry in os.scandir(folder):
            # The link itself may lead nowhere.
            if entry.is_dir():
                yield from _walked(Path(entry.path), (*above, number))
            elif entry.is_file():
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{folder}", error.strerror or str(error), "make it readable") from error
