"""Batch norm over groups of a batch, as if each group were on a device of its own.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
section 3.3: statistics shared by a query and its key leak information. Shuffling the keys among
groups with separate statistics prevents that. MUC's code uses 8 groups on one device.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

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
        sizes = group_sizes(images.shape[0], groups)
        normalised, statistics = by_groups(
            images, sizes, self.weight, self.bias, self.eps, at_once=images.is_cuda
        )
        move_statistics(self, self.group_momentum, *statistics.mean(dim=1))
        return normalised


def by_groups(
    images: Float[Tensor, "batch channels *pixels"],
    sizes: Sequence[int],
    weight: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
    eps: float,
    *,
    at_once: bool,
) -> tuple[Float[Tensor, "batch channels *pixels"], Float[Tensor, "2 groups channels"]]:
    """Batch norm of consecutive groups of a batch, with batch statistics.

    Args:
        images: in either memory layout; the result has the same.
        sizes: of the groups, at least one.
        weight, bias: of the layer.
        eps: of the layer.
        at_once: normalise consecutive groups of equal size in one operation. That takes fewer
            launches but one more copy, and adds gradients of weight and bias in another order:
            for a GPU. On a CPU one group after the other is faster.

    Returns:
        The normalised batch; and the groups' means and unbiased variances, without gradients.
    """
    runs = [(len(list(equal)), size) for size, equal in groupby(sizes)]
    if not at_once:
        runs = [(1, size) for size in sizes]
    statistics = weight.new_zeros(2, len(sizes), weight.shape[0])
    # Chunks along the batch are dense in either layout, and `split_with_sizes` (unlike
    # `tensor_split`) has a backward that concatenates instead of adding padded chunks.
    chunks = images.split_with_sizes([groups * size for groups, size in runs])
    of_runs = statistics.split_with_sizes([groups for groups, _ in runs], dim=1)
    normalised = [
        _of_equal_groups(chunk, of_run[0], of_run[1], weight, bias, eps)
        for chunk, of_run in zip(chunks, of_runs, strict=True)
    ]
    return normalised[0] if len(runs) == 1 else torch.cat(normalised), statistics


def _of_equal_groups(
    images: Tensor, means: Tensor, variances: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Batch norm of consecutive groups of equal size; fills in their statistics, which are 0."""
    groups = means.shape[0]
    if groups > 1:
        images = _groups_as_channels(images, groups)
        weight, bias = weight.repeat(groups), bias.repeat(groups)
    normalised = functional.batch_norm(
        # With momentum 1 the running statistics become the groups' own.
        images, means.view(-1), variances.view(-1), weight, bias, True, 1.0, eps
    )  # fmt: skip
    return normalised if groups == 1 else _channels_as_groups(normalised, groups)


def _groups_as_channels(images: Tensor, groups: int) -> Tensor:
    """(groups * size, channels, ...) as (size, groups * channels, ...), in the same layout."""
    if _channels_are_last(images):
        rows = torch.unflatten(images.movedim(1, -1), 0, (groups, -1))
        return rows.movedim(0, -2).flatten(-2).movedim(-1, 1)
    return torch.unflatten(images, 0, (groups, -1)).transpose(0, 1).flatten(1, 2)


def _channels_as_groups(images: Tensor, groups: int) -> Tensor:
    """The inverse."""
    if _channels_are_last(images):
        rows = torch.unflatten(images.movedim(1, -1), -1, (groups, -1))
        return rows.movedim(-2, 0).flatten(0, 1).movedim(-1, 1)
    return torch.unflatten(images, 1, (groups, -1)).transpose(0, 1).flatten(0, 1)


def _channels_are_last(images: Tensor) -> bool:
    return images.dim() == 4 and images.is_contiguous(memory_format=torch.channels_last)


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
    torch._foreach_lerp_([layer.running_mean, layer.running_var], [mean, variance], momentum)
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
