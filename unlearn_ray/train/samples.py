"""`TaskSamples`: a method's access to the dataset outside of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.base import Split
from unlearn_ray.families.base import Prompts
from unlearn_ray.methods.base import PartName
from unlearn_ray.train.loop import seeded
from unlearn_ray.train.resident import ResidentData


class TaskSamples:
    """Implements `methods.base.Samples`.

    Args:
        data: the dataset on the device.
        split: of the seed.
        augmentation: provides mean and deviation for normalisation.
        seed: of all random draws.
        make_model: builds a randomly initialised model of the family from a seed.
    """

    def __init__(
        self,
        data: ResidentData,
        split: Split,
        *,
        augmentation: Augmentation,
        seed: int,
        make_model: Callable[[int], nn.Module],
    ) -> None:
        self._data = data
        self._augmentation = augmentation
        self._seed = seed
        self._make_model = make_model
        device = data.train_images.device
        self._ids: dict[PartName, Tensor] = {
            "retain": torch.as_tensor(split.retain, device=device),
            "forget": torch.as_tensor(split.forget, device=device),
            "validation": torch.as_tensor(split.validation, device=device),
        }

    @property
    def num_classes(self) -> int:
        """Number of classes of the dataset."""
        return self._data.num_classes

    @cached_property
    def forgotten_classes(self) -> tuple[int, ...]:
        """Classes in the forget set that the retain set lacks."""
        kept, forgotten = (set(self.labels(part).tolist()) for part in ("retain", "forget"))
        return tuple(sorted(forgotten - kept))

    @property
    def prompts(self) -> Prompts | None:
        """Tokenised class prompts, if the family reads captions."""
        return self._data.prompts

    def size(self, part: PartName) -> int:
        """Number of samples."""
        return self._ids[part].shape[0]

    def ids(self, part: PartName) -> Int64[Tensor, " n"]:
        """Ids of a part's samples in the dataset, on the device."""
        return self._ids[part]

    def labels(self, part: PartName) -> Int[Tensor, " n"]:
        """Classes of a part's samples, on the device."""
        return self._data.train_labels[self._ids[part]]

    def blocks(
        self, part: PartName, size: int | list[int] = 256, limit: int | None = None
    ) -> Iterator[tuple[Float[Tensor, "block 3 height width"], Int[Tensor, " block"]]]:
        """Test-time images and classes, block by block."""
        for ids in torch.split(self._ids[part][:limit], size):
            images = self._augmentation.plain(self._data.train_images[ids])
            yield images, self._data.train_labels[ids]

    def generator(self, *words: str | int) -> torch.Generator:
        """A generator seeded from the step's seed and the words."""
        return seeded("method", self._seed, *words)

    def new_model(self) -> nn.Module:
        """A freshly initialised model, in eval mode, on the device."""
        return self._make_model(self._seed).to(self._ids["retain"].device).eval()
