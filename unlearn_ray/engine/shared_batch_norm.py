"""Batch norm of a batch that several workers hold slices of.

Statistics are those of the whole batch (or of its groups), whatever the number of workers; so
a layer normalises as one worker alone would. torch's SyncBatchNorm needs GPUs and knows no
groups.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from unlearn_ray.core.collective import average, gather_rows, rank, rows_of, world_size
from unlearn_ray.families.split_batch_norm import SplitBatchNorm2d, group_sizes, move_statistics


def share_batch_norm(module: nn.Module, batch_size: int) -> None:
    """Replace every batch norm layer inside `module`; weights and statistics stay the same ones.

    Called again, it sets another batch size.

    Args:
        module: its state dict keeps its names.
        batch_size: images of the whole batch, of which each worker passes its own rows.
    """
    for name, child in module.named_children():
        if isinstance(child, SharedBatchNorm):
            child.expect(batch_size)
        elif isinstance(child, _BatchNorm):
            setattr(module, name, SharedBatchNorm(child, batch_size))
        else:
            share_batch_norm(child, batch_size)


class SharedBatchNorm(_BatchNorm):
    """A `BatchNorm1d`, `BatchNorm2d` or `SplitBatchNorm2d` over all workers' rows.

    In training it is called by every worker at once, with its own rows. In evaluation it is
    plain batch norm.

    Args:
        layer: what it takes weights and statistics over from.
        batch_size: images of the whole batch.
    """

    def __init__(self, layer: _BatchNorm, batch_size: int) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.train(layer.training)
        self.groups = layer.groups if isinstance(layer, SplitBatchNorm2d) else 1
        self.expect(batch_size)

    def expect(self, batch_size: int) -> None:
        """From now on, batches have this size."""
        self.sizes = group_sizes(batch_size, max(1, min(self.groups, batch_size // 2)))
        self.pieces = _pieces(self.sizes, batch_size)
        # Only then no worker needs to know what the others' images look like.
        self.groups_are_whole = all(
            piece in (0, size)
            for pieces in self.pieces
            for piece, size in zip(pieces, self.sizes, strict=True)
        )

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        assert input.dim() in (2, 4)

    def forward(self, images: Float[Tensor, "own channels *pixels"]) -> Tensor:
        """Normalised rows, in the memory layout of `images`."""
        if not self.training:
            return super().forward(images)
        assert images.shape[0] == sum(self.pieces[rank()]), "not this worker's rows of a batch"
        if self.groups_are_whole:
            normalised, mean, variance = self._by_own_groups(images)
        else:
            normalised, means, variances = _Normalise.apply(  # type: ignore[no-untyped-call]
                images, self.weight, self.bias, self.pieces, self.eps
            )
            pixels = images[0, 0].numel()
            unbiased = [
                variance * (size * pixels / (size * pixels - 1))
                for variance, size in zip(variances, self.sizes, strict=True)
            ]
            mean, variance = means.mean(dim=0), torch.stack(unbiased).mean(dim=0)
        assert self.momentum is not None
        move_statistics(self, self.momentum, mean, variance)
        return normalised

    def _by_own_groups(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised rows, and the mean over all workers' groups of mean and variance."""
        own = [rows for rows in self.pieces[rank()] if rows]
        statistics = self.weight.new_zeros(2, len(own), self.num_features)
        normalised = [
            # With momentum 1 the running statistics become this group's own.
            functional.batch_norm(
                chunk, mean, variance, self.weight, self.bias, True, 1.0, self.eps
            )
            for chunk, mean, variance in zip(images.split_with_sizes(own), *statistics, strict=True)
        ]
        mean, variance = statistics.sum(dim=1) * (world_size() / len(self.sizes))
        average([mean, variance])
        return torch.cat(normalised), mean, variance


def _pieces(sizes: list[int], count: int) -> list[list[int]]:
    """How many rows of each group each worker has."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    workers = [rows_of(worker, count) for worker in range(world_size())]
    return [
        [max(0, min(end, rows.stop) - max(begin, rows.start)) for begin, end in pairwise(ends)]
        for rows in workers
    ]


class _Normalise(torch.autograd.Function):
    """Batch norm by groups that may lie on several workers.

    Per-worker means and variances are put together by Chan et al.'s formula, since a difference
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
        rows = torch.tensor(pieces, dtype=weight.dtype).to(weight.device, non_blocking=True)
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
    """This worker's rows of each group that it has any of."""
    groups = [group for group, rows in enumerate(own) if rows]
    return list(zip(groups, images.split_with_sizes([own[g] for g in groups]), strict=True))


def _joined(chunks: list[Tensor], like: Tensor) -> Tensor:
    return (chunks[0] if len(chunks) == 1 else torch.cat(chunks)).to(like.dtype)


def _rows_and_pixels(images: Tensor) -> list[int]:
    return [0, *range(2, images.dim())]


def _by_channel(values: Tensor, images: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (images.dim() - 2))
