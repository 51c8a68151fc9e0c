"""Pair embeddings: images and captions in their joint space."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveInt, schema
from unlearn_ray.quantities.base import Inference, Observation, Pairs, Quantity, SetName


@register("pair_embeddings")
@schema
class PairEmbeddings(Quantity):
    """The normalised embeddings of some images of a set and of all their captions, float32.

    5,000 images with 25,000 captions, of 512 numbers each, take 60 MB.

    Attributes:
        part: the set.
        samples: at most this many, its first images; null: all.
        ids: instead, the images of the set at these positions in the dataset, in this order.
    """

    kept: ClassVar[bool] = False

    part: SetName
    samples: PositiveInt | None = None
    ids: tuple[NonNegativeInt, ...] | None = None

    def observe(self, inference: Inference) -> Observation:
        """The fields of `Pairs`; `texts` holds only captions of these images.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        places = self._places(inference)
        pairs = inference.pairs(self.part, int(places.max(initial=0)) + 1)
        counts = pairs.begins.diff()[places]
        begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        rows = [pairs.captions[pairs.begins[place] : pairs.begins[place + 1]] for place in places]
        used, captions = torch.unique(torch.cat([pairs.captions[:0], *rows]), return_inverse=True)
        return Observation(
            arrays={
                "images": pairs.images[places],
                "texts": pairs.texts[used],
                "captions": captions,
                "begins": begins,
            }
        )

    def _places(self, inference: Inference) -> np.ndarray:
        if self.ids is None:
            size = inference.size(self.part)
            return np.arange(size if self.samples is None else min(self.samples, size))
        found = {number: place for place, number in enumerate(inference.ids(self.part).tolist())}
        return np.array([found[number] for number in self.ids if number in found], dtype=int)


def pairs_of(observation: Observation) -> Pairs:
    """An observation as pairs."""
    return Pairs(**observation.arrays)
