"""Tokenised captions of a set of images, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float64, Int, Int32, Int64
from torch import Tensor

from unlearn_ray.data.base import Captions
from unlearn_ray.families.base import Family


@dataclass(frozen=True)
class Texts:
    """Every image's captions; shared captions (prompts) are stored once.

    Attributes:
        tokens: of every distinct caption, (U, L).
        rows: row in `tokens` of each caption, image by image, (C,).
        begins: offset in `rows` of each image's captions, then their number, (N + 1,).
    """

    tokens: Int32[Tensor, "distinct length"]
    rows: Int32[Tensor, " captions"]
    begins: Int64[Tensor, " images_and_end"]

    @classmethod
    def load(cls, captions: Captions, family: Family, device: torch.device) -> Texts:
        """Tokenise the captions of images with the family's tokenizer.

        Raises:
            DataError: the family refuses captions.
        """
        numbers = {caption: row for row, caption in enumerate(dict.fromkeys(chain(*captions)))}
        rows = [numbers[caption] for caption in chain(*captions)]
        counts = torch.tensor([0, *map(len, captions)])
        return cls(
            # All at once, so that an error counts all that are refused.
            tokens=family.tokenise(list(numbers)).int().to(device),
            rows=torch.tensor(rows, dtype=torch.int32, device=device),
            begins=counts.cumsum(0).to(device),
        )

    def of(
        self, ids: Int[Tensor, " images"]
    ) -> tuple[Int64[Tensor, " captions"], Int64[Tensor, " images_and_end"]]:
        """All captions of chosen images: rows of `tokens`, and offsets per image.

        Args:
            ids: of the images, on the device.
        """
        counts = self.begins[ids + 1] - self.begins[ids]
        begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shifts = (self.begins[ids] - begins[:-1]).repeat_interleave(counts)
        places = shifts + torch.arange(shifts.shape[0], device=shifts.device)
        return self.rows[places].long(), begins

    def drawn(
        self, ids: Int[Tensor, " batch"], uniform: Float64[Tensor, " batch"]
    ) -> Int64[Tensor, "batch length"]:
        """Tokens of one caption per image.

        Args:
            ids: of the images, on the device.
            uniform: in [0, 1), which of its captions an image shows; on the device.
        """
        begins, ends = self.begins[ids], self.begins[ids + 1]
        places = uniform * (ends - begins)
        return self.tokens[self.rows[begins + places.long()]].long()
