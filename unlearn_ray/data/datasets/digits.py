"""Handwritten digits that ship with scikit-learn: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch.nn import functional

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData, ImageSize

_TRAIN_SIZE, _TEST_SIZE, _CLASSES = 1437, 360, 10
_LARGEST_VALUE = 16


@register("digits")
@schema
class Digits(Dataset):
    """scikit-learn's 1,797 handwritten digits, 8 x 8, split into 1,437 and 360.

    The split is stratified by class, by a fixed permutation.

    Attributes:
        image_size: the images are resized to this (bilinear); gray is repeated in 3 channels.
    """

    tiny: ClassVar[Fields] = {"image_size": 8}

    image_size: ImageSize = 16

    def info(self) -> DatasetInfo:
        """Known without reading anything."""
        names = tuple(str(digit) for digit in range(_CLASSES))
        return DatasetInfo(_TRAIN_SIZE, _TEST_SIZE, names, self.image_size)

    def known_labels(self) -> Int64[np.ndarray, " train"]:
        """From scikit-learn's own files."""
        labels: Int64[np.ndarray, " n"] = _digits()[1]
        found: Int64[np.ndarray, " train"] = labels[_train_ids(labels)]
        return found

    def load(self, cache: Path) -> ImageData:
        """Read from scikit-learn's own files; too small for a cache."""
        pixels, labels = _digits()
        images = self._images(pixels)
        train, test = _train_ids(labels), _test_ids(labels)
        return ImageData(images[train], labels[train], images[test], labels[test])

    def _images(self, pixels: np.ndarray) -> np.ndarray:
        gray = torch.from_numpy(pixels).view(-1, 1, 8, 8) * (255 / _LARGEST_VALUE)
        size = (self.image_size, self.image_size)
        resized = functional.interpolate(gray, size, mode="bilinear", antialias=True)
        channels = resized.round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
        return channels.contiguous().numpy()


def _digits() -> tuple[np.ndarray, Int64[np.ndarray, " n"]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels.astype(np.int64)


def _train_ids(labels: np.ndarray) -> np.ndarray:
    return np.setdiff1d(np.arange(len(labels)), _test_ids(labels))


def _test_ids(labels: np.ndarray) -> np.ndarray:
    """A fixed share of each class, in a fixed random order."""
    order = np.random.RandomState(0).permutation(len(labels))
    share = np.empty(len(labels))
    for label in range(_CLASSES):
        members = order[labels[order] == label]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(share[order], kind="stable")[:_TEST_SIZE]])
