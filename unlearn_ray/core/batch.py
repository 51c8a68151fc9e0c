"""What one iteration sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The images of one iteration, augmented, on the device.

    Attributes:
        views: one tensor per view, each (B, 3, H, W), normalised.
        labels: class of each image, (B,).
        is_forget: which images belong to the forget set, (B,).
        generator: a CPU generator seeded from (seed, iteration), for whatever else the
            iteration draws (MoCo's key shuffle).
    """

    views: tuple[Float[Tensor, "batch 3 height width"], ...]
    labels: Int[Tensor, " batch"]
    is_forget: Bool[Tensor, " batch"]
    generator: torch.Generator

    @property
    def size(self) -> int:
        """Number of images."""
        return self.labels.shape[0]
