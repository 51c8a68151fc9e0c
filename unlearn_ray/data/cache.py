"""The cache of downloads and decoded images on each machine."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Int64

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import Captions, ImageData

# Incremented when the decoding of any dataset changes.
_REVISION = 2
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_CAPTIONS = ("train_captions", "test_captions")


def decoded(
    cache: Path,
    identity: Mapping[str, Any],
    decode: Callable[[], ImageData],
    texts: Callable[[], Mapping[str, str]] = dict,
) -> ImageData:
    """The memory-mapped arrays of `<cache>/decoded/<id of the content>`, decoded on first use.

    Captions are stored next to them, as JSON. Concurrent processes decode only once, and the
    folder is created atomically.

    Args:
        cache: the cache folder.
        identity: identifies the content.
        decode: computes the arrays.
        texts: names and contents of text files to store next to the arrays.

    Raises:
        DataError: the cache cannot be written, or its content is damaged.
    """
    folder = _folder(cache, identity)
    if not folder.is_dir():
        with writing(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not folder.is_dir():
                    _write(folder, decode(), texts())
    return _opened(folder)


def is_decoded(cache: Path, identity: Mapping[str, Any]) -> bool:
    """Whether `decoded` needs nothing but the cache."""
    return _folder(cache, identity).is_dir()


def stored_arrays(cache: Path, identity: Mapping[str, Any]) -> ImageData:
    """What `decoded` returned when it decoded.

    Raises:
        DataError: it cannot be read.
    """
    return _opened(_folder(cache, identity))


def stored_text(cache: Path, identity: Mapping[str, Any], name: str) -> str:
    """One of the text files next to the decoded arrays.

    Raises:
        DataError: it cannot be read.
    """
    folder = _folder(cache, identity)
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def decoded_labels(cache: Path, identity: Mapping[str, Any]) -> Int64[np.ndarray, " train"] | None:
    """The training labels, if the dataset was already decoded on this machine; else None."""
    folder = _folder(cache, identity)
    return _opened(folder).train_labels if folder.is_dir() else None


def _folder(cache: Path, identity: Mapping[str, Any]) -> Path:
    return cache / "decoded" / content_key({"revision": _REVISION, **identity})


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turn an OSError of writing to the cache into a DataError with a remedy."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cache folder {cache}",
            f"cannot be written: {error.strerror or error}",
            "free space there, or set UNLEARN_RAY_CACHE to another folder",
        ) from error


def _write(folder: Path, data: ImageData, texts: Mapping[str, str]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name in _ARRAYS:
            np.save(unfinished / f"{name}.npy", np.ascontiguousarray(getattr(data, name)))
        for name in _CAPTIONS:
            if captions := getattr(data, name):
                (unfinished / f"{name}.json").write_text(json.dumps(captions), encoding="utf-8")
        for name, text in texts.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _opened(folder: Path) -> ImageData:
    try:
        arrays = {
            name: np.load(
                folder / f"{name}.npy", mmap_mode="r" if name.endswith("images") else None
            )
            for name in _ARRAYS
        }
        train, test = (_captions(folder, name) for name in _CAPTIONS)
        return ImageData(**arrays, train_captions=train, test_captions=test)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(
        f"decoded images in {folder}",
        f"cannot be read: {error}",
        "delete this folder, and the images are decoded again",
    )


def _captions(folder: Path, name: str) -> Captions:
    file = folder / f"{name}.json"
    if not file.exists():
        return ()
    return tuple(map(tuple, json.loads(file.read_text(encoding="utf-8"))))
