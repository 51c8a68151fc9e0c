"""What an anchor is contrasted with: a queue of retain embeddings, and sums over some of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.families.base import ClassifierFamily
from unlearn_ray.families.similarity import unit_rows
from unlearn_ray.methods.base import Task, classifier_family
from unlearn_ray.methods.shared import frozen_copy


def row_mean(mask: Bool[Tensor, "a c"], values: Float[Tensor, "a c"]) -> Float[Tensor, " a"]:
    """Mean of each row's values under the mask; 0 where there are none."""
    return torch.where(mask, values, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def row_log_sum_exp(
    mask: Bool[Tensor, "a c"], values: Float[Tensor, "a c"], empty: float = 0.0
) -> Float[Tensor, " a"]:
    """Log of the sum of exp(values) under the mask in each row; `empty` where there are none."""
    some = mask.any(dim=1, keepdim=True)
    # A row without any keeps all its values: the gradient of log 0 would be NaN, chosen or not.
    sums = values.masked_fill(~mask & some, -math.inf).logsumexp(dim=1)
    return torch.where(some.squeeze(1), sums, empty)


class RetainQueue(nn.Module):
    """A slow copy of the model, and the newest retain embeddings it made, with their classes.

    The momentum encoder and the queue of He et al., "Momentum Contrast for Unsupervised Visual
    Representation Learning", CVPR 2020. All of it is in the state dict.

    Args:
        model: what is copied; the copy embeds in eval mode, so that its rows need no others.
        task: the first samples of its retain set fill the queue.
        size: of the queue; at most the retain set.
    """

    embeddings: Float[Tensor, "queue d"]
    classes: Int[Tensor, " queue"]
    pointer: Tensor

    def __init__(self, model: nn.Module, task: Task, size: int) -> None:
        super().__init__()
        self.copy = frozen_copy(model)
        blocks = list(task.samples.blocks("retain", limit=size))
        embeddings = [self._embed(classifier_family(task), images) for images, _ in blocks]
        self.register_buffer("embeddings", torch.cat(embeddings))
        self.register_buffer("classes", torch.cat([classes for _, classes in blocks]))
        self.register_buffer("pointer", torch.zeros_like(self.classes[0]))

    @torch.no_grad()
    def after(
        self, batch: Batch, family: ClassifierFamily
    ) -> tuple[Float[Tensor, "queue d"], Int[Tensor, " queue"]]:
        """Embeddings and classes, once a retain batch has been written over the oldest."""
        rows = gather_rows(self._embed(family, batch.view(0)), batch.size)
        size = len(self.classes)
        places = (torch.arange(batch.size, device=rows.device) + self.pointer)[-size:] % size
        self.embeddings.index_copy_(0, places, rows[-size:])
        self.classes.index_copy_(0, places, batch.labels[-size:])
        self.pointer.add_(batch.size).remainder_(size)
        # Backward reads what is returned here; the next batch is written in place.
        return self.embeddings.clone(), self.classes.clone()

    @torch.no_grad()
    def follow(self, model: nn.Module, momentum: float) -> None:
        """copy = momentum * copy + (1 - momentum) * model, but the model's batch statistics."""
        copies, weights = list(self.copy.parameters()), list(model.parameters())
        get_ema_multi_avg_fn(momentum)(copies, weights, 0)  # type: ignore[no-untyped-call]
        for copied, buffer in zip(self.copy.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)

    @torch.no_grad()
    def _embed(
        self, family: ClassifierFamily, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n d"]:
        return unit_rows(family.represent(self.copy, images))
