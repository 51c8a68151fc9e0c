"""Batch norm over groups of a batch, as if each group were on a device of its own.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
section 3.3: statistics shared by a query and its key leak information. Shuffling the keys among
groups with separate statistics prevents that. MUC's code uses 8 groups on one device.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with separate statistics for each group of the batch.

    In training, the batch is split into consecutive groups whose sizes differ by at most one.
    A batch too small for two images per group is split into fewer, since a single image has no
    variance where the feature map is one pixel. Running statistics move towards the mean over
    groups. In eval mode this is plain batch norm.

    Args:
        features: number of channels.
        groups: number of groups.
    """

    def __init__(self, features: int, groups: int, eps: float, momentum: float) -> None:
        super().__init__(features, eps=eps, momentum=momentum)
        self.groups = groups
        self.group_momentum = momentum

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalised feature maps, in the memory layout of `images`."""
        return followed(self, self._normalised(images))

    def _normalised(self, images: Tensor) -> Tensor:
        groups = max(1, min(self.groups, images.shape[0] // 2))
        if not self.training or groups == 1:
            return super().forward(images)
        means = self.weight.new_zeros(groups, self.num_features)
        variances = torch.zeros_like(means)
        # Chunks along the batch are dense in either layout, and `split_with_sizes` (unlike
        # `tensor_split`) has a backward that concatenates instead of adding padded chunks.
        chunks = images.split_with_sizes(group_sizes(images.shape[0], groups))
        normalised = [
            # With momentum 1 the running statistics become this group's own.
            functional.batch_norm(
                chunk, mean, variance, self.weight, self.bias, True, 1.0, self.eps
            )
            for chunk, mean, variance in zip(chunks, means, variances, strict=True)
        ]
        move_statistics(self, self.group_momentum, means.mean(dim=0), variances.mean(dim=0))
        return torch.cat(normalised)


@torch.no_grad()
def move_statistics(
    layer: _BatchNorm,
    momentum: float,
    mean: Float[Tensor, " channels"],
    variance: Float[Tensor, " channels"],
) -> None:
    """Update a layer's running statistics with those of a batch."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(variance, momentum)
    layer.num_batches_tracked.add_(1)


def group_sizes(count: int, groups: int) -> list[int]:
    """Sizes of `groups` consecutive groups of `count` images: the larger ones first."""
    size, larger = divmod(count, groups)
    return [size + 1] * larger + [size] * (groups - larger)


def add_following(layer: nn.Module, replaced: nn.Module) -> None:
    """Keep what a replaced layer applies to what it has normalised: timm's have an activation."""
    for name, child in replaced.named_children():
        layer.add_module(name, child)


def followed(layer: nn.Module, normalised: Tensor) -> Tensor:
    """Apply a layer's children, if it has any, one after the other."""
    for child in layer.children():
        normalised = child(normalised)
    return normalised


def split_batch_norm(module: nn.Module, groups: int) -> None:
    """Replace every `BatchNorm2d` inside `module`, keeping weights and statistics.

    It draws no random numbers. Layers without affine weights or running statistics, or with a
    cumulative average instead of a momentum, are not supported.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            assert child.momentum is not None
            split = SplitBatchNorm2d(child.num_features, groups, child.eps, child.momentum)
            split.to(child.weight.device, child.weight.dtype)
            add_following(split, child)
            split.load_state_dict(child.state_dict())
            split.train(child.training)
            setattr(module, name, split)
        else:
            split_batch_norm(child, groups)
