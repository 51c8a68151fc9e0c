"""Small real components for tests: a two-layer backbone, random batches, tiny parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.registry import Part
from unlearn_ray.families.base import Prompts
from unlearn_ray.methods.base import PartName

P = TypeVar("P", bound=Part)

# CLIP's start and end token.
BEGIN, END = 49406, 49407


class TwoLayerBackbone(nn.Module):
    """Convolution, batch norm, ReLU, mean over pixels, linear layer.

    Args:
        channels: of the convolution.
        feature_size: of the linear layer.
    """

    def __init__(self, channels: int = 6, feature_size: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, feature_size)
        self.feature_size = feature_size

    def forward(self, images: Tensor) -> Tensor:
        """Features of a batch of images."""
        return cast(Tensor, self.linear(torch.relu(self.bn(self.conv(images))).mean(dim=(2, 3))))


def random_batch(
    size: int,
    forget: tuple[int, ...] = (),
    *,
    seed: int = 0,
    views: int = 2,
    image_size: int = 6,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Batch:
    """Images of noise, with captions of random words; `forget` names the rows of the forget set."""
    noise = torch.Generator().manual_seed(seed)
    is_forget = torch.zeros(size, dtype=torch.bool)
    is_forget[list(forget)] = True
    shape = (size, 3, image_size, image_size)
    images = tuple(
        torch.randn(shape, generator=noise, dtype=torch.float64)
        .to(device, dtype)
        .contiguous(memory_format=torch.channels_last)
        for _ in range(views)
    )
    labels = torch.randint(10, (size,), generator=noise).to(device)
    return Batch(
        views=images,
        labels=labels,
        is_forget=is_forget.to(device),
        generator=torch.Generator().manual_seed(seed + 1),
        ids=torch.arange(size, device=device),
        texts=random_tokens(size, noise).to(device),
    )


def random_tokens(size: int, generator: torch.Generator) -> Tensor:
    """Captions of three words between CLIP's start and end token."""
    words = torch.randint(1, BEGIN, (size, 3), generator=generator)
    begin, end = (torch.full((size, 1), mark) for mark in (BEGIN, END))
    return torch.cat([begin, words, end], dim=1)


def tiny(part: type[P], **fields: Any) -> P:
    """The part with its `tiny` fields, and other fields as given."""
    return part(**{**part.tiny, **fields})


class ToySamples:
    """Implements `methods.base.Samples` over noise.

    Args:
        retain, forget: number of samples.
        classes: of the dataset.
        forgotten: classes that only the forget set has.
        image_size: pixels of a side.
        dtype, device: of the images.
        make_model: makes the model that a method starts anew with.
    """

    def __init__(
        self,
        retain: int,
        forget: int,
        *,
        classes: int = 10,
        forgotten: tuple[int, ...] = (),
        image_size: int = 6,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        make_model: Callable[[], nn.Module] = nn.Module,
    ) -> None:
        self.num_classes = classes
        self.forgotten_classes = forgotten
        self._make_model = make_model
        noise = torch.Generator().manual_seed(7)
        kept = [label for label in range(classes) if label not in forgotten]
        words = random_tokens(classes, torch.Generator().manual_seed(8))
        lengths = torch.ones(classes, dtype=torch.int64)
        self.prompts = Prompts(words.to(device), lengths.to(device))
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        for part, count in (("retain", retain), ("forget", forget), ("validation", 2 * classes)):
            shape = (count, 3, image_size, image_size)
            images = torch.randn(shape, generator=noise, dtype=torch.float64).to(device, dtype)
            among = {"retain": kept, "forget": list(forgotten) or kept}.get(part, range(classes))
            chosen = torch.randint(len(among), (count,), generator=noise)
            self.parts[part] = (images, torch.tensor(list(among))[chosen].to(device))

    def size(self, part: PartName) -> int:
        """Number of samples."""
        return len(self.parts[part][1])

    def ids(self, part: PartName) -> Tensor:
        """Ids of a part's samples; the forget set's come first, as in `random_batch`."""
        order: tuple[PartName, ...] = ("forget", "retain", "validation")
        begin = sum(self.size(before) for before in order[: order.index(part)])
        return torch.arange(begin, begin + self.size(part), device=self.labels(part).device)

    def labels(self, part: PartName) -> Tensor:
        """Classes of a part's samples."""
        return self.parts[part][1]

    def blocks(
        self, part: PartName, size: int | list[int] = 256, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and classes, block by block."""
        images, labels = self.parts[part]
        yield from zip(
            torch.split(images[:limit], size), torch.split(labels[:limit], size), strict=True
        )

    def generator(self, *words: str | int) -> torch.Generator:
        """Seeded from the words."""
        return torch.Generator().manual_seed(stable_seed(*words) % 2**62)

    def new_model(self) -> nn.Module:
        """As `make_model` makes it."""
        return self._make_model()
