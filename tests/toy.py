"""Small real parts that tests train: a two-layer backbone and random batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch


class TwoLayerBackbone(nn.Module):
    """Convolution, batch norm, ReLU, mean over pixels, linear layer."""

    def __init__(self, channels: int = 6, feature_size: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, feature_size)
        self.feature_size = feature_size

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(torch.relu(self.bn(self.conv(images))).mean(dim=(2, 3)))


def random_batch(
    size: int,
    forget: tuple[int, ...] = (),
    *,
    seed: int = 0,
    views: int = 2,
    image_size: int = 6,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Batch:
    """Images of noise; `forget` names the rows of the forget set."""
    noise = torch.Generator().manual_seed(seed)
    is_forget = torch.zeros(size, dtype=torch.bool)
    is_forget[list(forget)] = True
    shape = (size, 3, image_size, image_size)
    return Batch(
        views=tuple(
            torch.randn(shape, generator=noise, dtype=torch.float64)
            .to(device, dtype)
            .contiguous(memory_format=torch.channels_last)
            for _ in range(views)
        ),
        labels=torch.randint(10, (size,), generator=noise).to(device),
        is_forget=is_forget.to(device),
        generator=torch.Generator().manual_seed(seed + 1),
    )
