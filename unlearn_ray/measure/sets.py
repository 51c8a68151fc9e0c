"""The samples of all sets under one seed, on the device."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from unlearn_ray.data.base import Split
from unlearn_ray.measure import features
from unlearn_ray.quantities.base import SetName
from unlearn_ray.train.resident import ResidentData


class SampleSets:
    """Ids, images and labels of each set.

    Args:
        data: the dataset on the device.
        split: forget and retain set of the seed.

    Attributes:
        ids: of the samples of every set, in its order.
    """

    def __init__(self, data: ResidentData, split: Split) -> None:
        self._data = data
        device = data.train_images.device
        self.ids: dict[SetName, Tensor] = {
            "retain": torch.as_tensor(split.retain, device=device),
            "forget": torch.as_tensor(split.forget, device=device),
            "validation": torch.as_tensor(split.unseen, device=device),
            "test": torch.arange(data.test_labels.shape[0], device=device),
        }

    def images(self, part: SetName) -> UInt8[Tensor, "all height width 3"]:
        """The images that a set's ids refer to."""
        return self._data.test_images if part == "test" else self._data.train_images

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes of a set's samples."""
        labels = self._data.test_labels if part == "test" else self._data.train_labels
        return labels[self.ids[part]]

    def blocks(self, part: SetName, limit: int) -> list[tuple[int, Int[Tensor, " block"]]]:
        """Numbers and ids of the blocks that hold a set's first `limit` samples.

        Whole blocks, so that rounding and random draws depend on no limit.
        """
        ids, size = self.ids[part], features.BLOCK
        count = max(1, -(-min(limit, ids.shape[0]) // size))
        return [(block, ids[block * size : (block + 1) * size]) for block in range(count)]
