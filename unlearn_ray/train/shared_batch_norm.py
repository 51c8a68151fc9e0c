"""Batch norm of a batch that is sharded over several workers.

Statistics are those of the whole batch (or of its groups), whatever the number of workers; so
a layer normalises as on a single worker. torch's SyncBatchNorm needs GPUs and does not support
groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from unlearn_ray.core.collective import (
    average,
    gather_rows,
    rank,
    rows_of,
    rows_together,
    world_size,
)
from unlearn_ray.core.transfer import to_device
from unlearn_ray.families.split_batch_norm import (
    SplitBatchNorm2d,
    add_following,
    by_groups,
    followed,
    group_sizes,
    move_statistics,
)


def share_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm layer inside `module`, sharing its weights and statistics.

    Args:
        module: its state dict keeps its names.
    """
    for name, child in module.named_children():
        if isinstance(child, SharedBatchNorm):
            continue
        if isinstance(child, _BatchNorm):
            setattr(module, name, SharedBatchNorm(child))
        else:
            share_batch_norm(child)


class SharedBatchNorm(_BatchNorm):
    """A `BatchNorm1d`, `BatchNorm2d` or `SplitBatchNorm2d` over all workers' rows.

    In training every worker calls it at the same time, with its own rows of a batch whose size
    `sharing` announces. In eval mode it is plain batch norm.

    Args:
        layer: provides weights and statistics.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.train(layer.training)
        add_following(self, layer)
        self.groups = layer.groups if isinstance(layer, SplitBatchNorm2d) else 1

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        assert input.dim() in (2, 4)

    def forward(self, images: Float[Tensor, "own channels *pixels"]) -> Tensor:
        """Normalised rows, in the memory layout of `images`."""
        return followed(self, self._normalised(images))

    def _normalised(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        dealt = _dealt(rows_together(), self.groups, world_size())
        assert images.shape[0] == sum(dealt.pieces[rank()]), "not this worker's rows of a batch"
        if dealt.whole:
            normalised, mean, variance = self._by_own_groups(images, dealt)
        else:
            normalised, means, variances = _Normalise.apply(  # type: ignore[no-untyped-call]
                images, self.weight, self.bias, dealt.pieces, self.eps
            )
            pixels = images[0, 0].numel()
            unbiased = [
                variance * (size * pixels / (size * pixels - 1))
                for variance, size in zip(variances, dealt.sizes, strict=True)
            ]
            mean, variance = means.mean(dim=0), torch.stack(unbiased).mean(dim=0)
        assert self.momentum is not None
        move_statistics(self, self.momentum, mean, variance)
        return normalised

    def _by_own_groups(self, images: Tensor, dealt: _Dealt) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised rows, and the mean over all workers' groups of mean and variance."""
        own = [rows for rows in dealt.pieces[rank()] if rows]
        normalised, statistics = by_groups(
            images, own, self.weight, self.bias, self.eps, at_once=images.is_cuda
        )
        computed = sum(rows > 0 for pieces in dealt.pieces for rows in pieces)
        mean, variance = statistics.sum(dim=1) * (world_size() / computed)
        average([mean, variance])
        return normalised, mean, variance


@dataclass(frozen=True)
class _Dealt:
    """How a batch's groups are distributed over the workers.

    Attributes:
        sizes: of the groups.
        pieces: number of rows of each group on each worker.
        whole: whether no group is split over workers; only then no communication is needed.
    """

    sizes: list[int]
    pieces: list[list[int]]
    whole: bool


@cache
def _dealt(count: int, groups: int, workers: int) -> _Dealt:
    sizes = group_sizes(count, max(1, min(groups, count // 2)))
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    rows = [rows_of(worker, count) for worker in range(workers)]
    pieces = [
        [max(0, min(end, own.stop) - max(begin, own.start)) for begin, end in pairwise(ends)]
        for own in rows
    ]
    whole = all(
        piece in (0, size) for own in pieces for piece, size in zip(own, sizes, strict=True)
    )
    return _Dealt(sizes, pieces, whole)


class _Normalise(torch.autograd.Function):
    """Batch norm by groups that may be split over several workers.

    Per-worker means and variances are combined by Chan et al.'s formula, since a difference
    of sums of squares would lose digits in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, pieces: list[list[int]], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = pieces[rank()]
        statistics = weight.new_zeros(len(own), 2, weight.shape[0])
        precise = images.to(weight.dtype)
        for group, chunk in _chunks(precise, own):
            variance, mean = torch.var_mean(chunk, dim=_rows_and_pixels(chunk), correction=0)
            statistics[group] = torch.stack([mean, variance])
        everyone = gather_rows(statistics[None], world_size())
        rows = to_device(torch.tensor(pieces, dtype=weight.dtype), weight.device)
        share = (rows / rows.sum(dim=0))[:, :, None]
        mean = (share * everyone[:, :, 0]).sum(dim=0)
        variance = (share * (everyone[:, :, 1] + (everyone[:, :, 0] - mean) ** 2)).sum(dim=0)
        deviation = torch.rsqrt(variance + eps)
        normalised = [
            _by_channel(bias, chunk)
            + (chunk - _by_channel(mean[group], chunk))
            * _by_channel(deviation[group] * weight, chunk)
            for group, chunk in _chunks(precise, own)
        ]
        ctx.save_for_backward(images, weight, mean, deviation)
        ctx.pieces = pieces
        ctx.mark_non_differentiable(mean, variance)
        return _joined(normalised, images), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, deviation = ctx.saved_tensors
        own = ctx.pieces[rank()]
        standardised = [
            (chunk - _by_channel(mean[group], chunk)) * _by_channel(deviation[group], chunk)
            for group, chunk in _chunks(images.to(weight.dtype), own)
        ]
        chunks = _chunks(gradient.to(weight.dtype), own)
        sums = weight.new_zeros(len(own), 2, weight.shape[0])
        for (group, chunk), standard in zip(chunks, standardised, strict=True):
            dims = _rows_and_pixels(chunk)
            sums[group] = torch.stack([chunk.sum(dim=dims), (chunk * standard).sum(dim=dims)])
        by_bias, by_weight = sums.sum(dim=0)
        distributed.all_reduce(sums)
        pixels = images[0, 0].numel()
        by_images = []
        for (group, chunk), standard in zip(chunks, standardised, strict=True):
            count = pixels * sum(piece[group] for piece in ctx.pieces)
            first, second = (_by_channel(part / count, chunk) for part in sums[group])
            scale = _by_channel(deviation[group] * weight, chunk)
            by_images.append((chunk - first - standard * second) * scale)
        return _joined(by_images, images), by_weight, by_bias, None, None


def _chunks(images: Tensor, own: list[int]) -> list[tuple[int, Tensor]]:
    """This worker's rows, by group."""
    groups = [group for group, rows in enumerate(own) if rows]
    return list(zip(groups, images.split_with_sizes([own[g] for g in groups]), strict=True))


def _joined(chunks: list[Tensor], like: Tensor) -> Tensor:
    return (chunks[0] if len(chunks) == 1 else torch.cat(chunks)).to(like.dtype)


def _rows_and_pixels(images: Tensor) -> list[int]:
    return [0, *range(2, images.dim())]


def _by_channel(values: Tensor, images: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (images.dim() - 2))
