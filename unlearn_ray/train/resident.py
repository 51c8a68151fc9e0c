"""A dataset that is resident on the device: moved there once, indexed there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from unlearn_ray.data.base import Captions, ImageData
from unlearn_ray.families.base import Family, Prompts
from unlearn_ray.train.texts import Texts


@dataclass(frozen=True)
class ResidentData:
    """The arrays of `ImageData` as tensors on a device.

    Attributes:
        train_images, test_images: uint8, (N, H, W, 3).
        train_labels, test_labels: int64, (N,).
        num_classes: number of classes of the dataset.
        train_texts, test_texts: tokenised captions; None if the family reads none.
        prompts: tokenised class prompts, likewise; also None for unlabelled images.
    """

    train_images: UInt8[Tensor, "train height width 3"]
    train_labels: Int[Tensor, " train"]
    test_images: UInt8[Tensor, "test height width 3"]
    test_labels: Int[Tensor, " test"]
    num_classes: int
    train_texts: Texts | None = None
    test_texts: Texts | None = None
    prompts: Prompts | None = None

    @classmethod
    def load(
        cls,
        data: ImageData,
        num_classes: int,
        family: Family,
        device: torch.device,
        prompts: Captions = (),
    ) -> ResidentData:
        """Copy the arrays to `device`, with tokenised captions if the family reads them.

        Raises:
            DataError: the family refuses a caption or a prompt.
        """
        train_images, train_labels, test_images, test_labels = (
            torch.tensor(array, device=device)
            for array in (
                data.train_images,
                data.train_labels,
                data.test_images,
                data.test_labels,
            )
        )
        train_texts, test_texts = (
            Texts.load(captions, family, device) if family.reads_captions else None
            for captions in (data.train_captions, data.test_captions)
        )
        return cls(
            train_images,
            train_labels,
            test_images,
            test_labels,
            num_classes,
            train_texts,
            test_texts,
            Prompts.load(prompts, family, device) if family.reads_captions and prompts else None,
        )
