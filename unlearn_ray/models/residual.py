"""The structure of all residual backbones: stem, stages of blocks, global average pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# torchvision's BasicBlock and Bottleneck: (in_channels, planes, stride, downsample) -> module.
Block = Callable[[int, int, int, nn.Module | None], nn.Module]

# With fewer channels, oneDNN's gradient of a strided 1x1 convolution in channels_last writes past
# its workspace: a crash at 48 pixels and width 8 (uxlfoundation/oneDNN, issue 6035).
_SAFE_CHANNELS = 16


class ResidualBackbone(nn.Module):
    """A residual network without a classifier.

    The CIFAR stem is one 3x3 convolution of stride 1 without pooling, so that small images keep
    their detail; the pooled one is torchvision's. Modules are named and initialised as in
    torchvision's ResNet.

    Args:
        block: the block of all stages.
        expansion: ratio of a block's output channels to its planes.
        depths: blocks per stage; every stage after the first halves the resolution and doubles
            the planes.
        width: planes of the first stage.
        pooled: whether the stem divides height and width by 4.

    Attributes:
        feature_size: dimension of the features.
    """

    def __init__(
        self, block: Block, expansion: int, depths: Sequence[int], width: int, *, pooled: bool
    ) -> None:
        super().__init__()
        if pooled:
            self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pooled else nn.Identity()
        self.stages = len(depths)
        channels = width
        for index, depth in enumerate(depths):
            planes = width * 2**index
            stage = _stage(block, channels, planes, expansion, depth, stride=1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", stage)
            channels = planes * expansion
        self.feature_size = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch of images."""
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for index in range(self.stages):
            hidden = self.get_submodule(f"layer{index + 1}")(hidden)
        return cast(Tensor, hidden.mean(dim=(2, 3)))


def _stage(
    block: Block, channels: int, planes: int, expansion: int, depth: int, stride: int
) -> nn.Sequential:
    out = planes * expansion
    shortcut = None
    if stride != 1 or channels != out:
        convolution = _Pointwise if channels < _SAFE_CHANNELS else nn.Conv2d
        shortcut = nn.Sequential(
            convolution(channels, out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(out),
        )
    first = block(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(block(out, planes, 1, None) for _ in range(depth - 1)))


class _Pointwise(nn.Conv2d):
    """A strided 1x1 convolution, computed by slicing instead of a stride."""

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = self.stride
        return functional.conv2d(images[:, :, ::rows, ::columns], self.weight)
