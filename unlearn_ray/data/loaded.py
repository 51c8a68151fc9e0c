"""What a dataset from outside this package gives, as digits: only `load` knows where it lies.

Found once in a process for each value of the dataset's fields, and sent along with it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import KEY_LENGTH, canonical
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import Dataset, ImageData
from unlearn_ray.data.cache import cache_folder

_ATTRIBUTE = "_loaded"
_KNOWN: dict[tuple[type, str | bytes], str] = {}


def fingerprint(dataset: Dataset, data: ImageData | None = None) -> str:
    """16 hex digits of images, labels, captions and prompts.

    Args:
        dataset: loaded if its digits are not known yet.
        data: what was loaded already.
    """
    known: str | None = dataset.__dict__.get(_ATTRIBUTE)
    if known is None:
        value = _value(dataset)
        known = None if value is None else _KNOWN.get(value)
        if known is None:
            known = _digest(dataset, data or dataset.load(cache_folder()))
        if value is not None:
            _KNOWN[value] = known
        # A frozen part may still remember what it looked up: it is a function of its fields.
        dataset.__dict__[_ATTRIBUTE] = known
    return known


def load(dataset: Dataset, cache: Path) -> ImageData:
    """What `dataset.load` gives, which is what the keys of steps say.

    Raises:
        DataError: as `dataset.load`, or it gives other data than before.
    """
    data = dataset.load(cache)
    if dataset.code and _digest(dataset, data) != fingerprint(dataset, data):
        raise DataError(
            f"dataset {dataset.name}",
            "load() gave other data than when the sweep was planned",
            "start the sweep again if its files changed; else make load() give the same each "
            "time and on every machine, with a fixed seed where it draws",
        )
    return data


def _digest(dataset: Dataset, data: ImageData) -> str:
    total = hashlib.sha256()
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        whole = np.ascontiguousarray(array)
        total.update(repr((whole.dtype.str, whole.shape)).encode())
        total.update(whole.reshape(-1).view(np.uint8).data)
    for texts in (data.train_captions, data.test_captions, dataset.prompts()):
        total.update(json.dumps(texts).encode() + b"\n")
    return total.hexdigest()[:KEY_LENGTH]


def _value(dataset: Dataset) -> tuple[type, str | bytes] | None:
    """What two datasets have in common that give the same; None if it cannot be told."""
    fields: dict[str, Any] = field_values(dataset)
    try:
        return type(dataset), canonical(fields)
    except TypeError:
        try:
            return type(dataset), pickle.dumps(fields)
        except (pickle.PicklingError, TypeError, AttributeError):
            return None
