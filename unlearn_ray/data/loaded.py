"""Content digests of datasets from outside this package, which only their `load` can read.

Computed once per process for each value of the dataset's fields, and sent along with it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import KEY_LENGTH, canonical
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import Dataset, ImageData

_ATTRIBUTE = "_loaded"
_KNOWN: dict[tuple[type, str | bytes], str] = {}


def fingerprint(dataset: Dataset, data: ImageData | None = None) -> str:
    """16 hex digits of images, labels, captions and prompts.

    Args:
        dataset: loaded if its digest is not known yet.
        data: its images, if already loaded.
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
    """`dataset.load`, checked against the content that is part of the steps' keys.

    Raises:
        DataError: as `dataset.load`, or it returned other data than before.
    """
    data = dataset.load(cache)
    if dataset.code and _digest(dataset, data) != fingerprint(dataset, data):
        raise DataError(
            f"dataset {dataset.name}",
            "load() returned other data than when the sweep was planned",
            "start the sweep again if its files changed; else make load() deterministic, on every "
            "machine, with a fixed seed if it is random",
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
    """A value that is equal for datasets with equal content; None if there is no such value."""
    fields: dict[str, Any] = field_values(dataset)
    try:
        return type(dataset), canonical(fields)
    except TypeError:
        try:
            return type(dataset), pickle.dumps(fields)
        except (pickle.PicklingError, TypeError, AttributeError):
            return None
