"""Contrastive unlearning's pieces: masked reductions, the retain queue and the stopping rule."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.families.base import ClassFamily
from unlearn_ray.families.momentum import enqueue, follow
from unlearn_ray.families.similarity import unit_rows
from unlearn_ray.methods.base import Task, class_family
from unlearn_ray.methods.shared import accuracy, frozen_copy


def row_mean(mask: Bool[Tensor, "a c"], values: Float[Tensor, "a c"]) -> Float[Tensor, " a"]:
    """Mean of each row's values under the mask; 0 for rows without any."""
    return torch.where(mask, values, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def row_log_sum_exp(
    mask: Bool[Tensor, "a c"], values: Float[Tensor, "a c"], empty: float = 0.0
) -> Float[Tensor, " a"]:
    """Log of the sum of exp(values) under the mask in each row; `empty` for rows without any."""
    some = mask.any(dim=1, keepdim=True)
    # Rows without any keep all values: the gradient of log 0 would be NaN, even if masked out.
    sums = values.masked_fill(~mask & some, -math.inf).logsumexp(dim=1)
    return torch.where(some.squeeze(1), sums, empty)


def push_and_pull(
    positive: Bool[Tensor, "a c"], similarities: Float[Tensor, "a c"], *, soft: bool
) -> Float[Tensor, ""]:
    """Mean over anchors of the log-sum-exp of positives, less the mean of all others.

    Args:
        positive: mask of the positives.
        similarities: of anchors with their positives and negatives.
        soft: subtract the negatives' log-sum-exp, instead of their mean.
    """
    # Without positives, all are negatives: log |N|.
    push = row_log_sum_exp(positive, similarities, math.log(similarities.shape[1]))
    pull = row_log_sum_exp if soft else row_mean
    return (push - pull(~positive, similarities)).mean()


class RetainQueue(nn.Module):
    """A momentum encoder and a queue of its latest retain embeddings, with their classes.

    As in He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR
    2020. All of it is in the state dict.

    Args:
        model: what is copied; the copy is in eval mode, so that its rows are independent.
        task: the first samples of its retain set fill the queue.
        size: of the queue; at most the size of the retain set.
    """

    embeddings: Float[Tensor, "queue d"]
    classes: Int[Tensor, " queue"]
    pointer: Tensor

    def __init__(self, model: nn.Module, task: Task, size: int) -> None:
        super().__init__()
        self.copy = frozen_copy(model)
        blocks = list(task.samples.blocks("retain", limit=size))
        embeddings = [self._embed(class_family(task), images) for images, _ in blocks]
        self.register_buffer("embeddings", torch.cat(embeddings))
        self.register_buffer("classes", torch.cat([classes for _, classes in blocks]))
        self.register_buffer("pointer", torch.zeros_like(self.classes[0]))

    @torch.no_grad()
    def after(
        self, batch: Batch, family: ClassFamily
    ) -> tuple[Float[Tensor, "queue d"], Int[Tensor, " queue"]]:
        """Embeddings and classes, after a retain batch has replaced the oldest."""
        rows = gather_rows(self._embed(family, batch.view(0)), batch.size)
        enqueue(self.pointer, (self.embeddings, rows), (self.classes, batch.labels))
        # A copy, since backward reads it and the next batch is written in place.
        return self.embeddings.clone(), self.classes.clone()

    @torch.no_grad()
    def follow(self, model: nn.Module, momentum: float) -> None:
        """copy = momentum * copy + (1 - momentum) * model, with the model's running statistics."""
        follow(self.copy, model, momentum)
        for copied, buffer in zip(self.copy.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)

    @torch.no_grad()
    def _embed(
        self, family: ClassFamily, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n d"]:
        return unit_rows(family.represent(self.copy, images))


@torch.no_grad()
def is_forgotten(model: nn.Module, task: Task) -> bool:
    """Whether the model meets "Contrastive Unlearning"'s equation 8 (whole classes) or 9 (samples).

    Equation 8: accuracy on unseen samples of forgotten classes (on forget samples, if there are
    none) is at most chance. Equation 9: forget accuracy is at most the accuracy on unseen samples.
    """
    samples = task.samples
    with in_eval_mode(model):
        scores = class_family(task).class_scores(model, samples.prompts)
    if set(samples.labels("forget").tolist()) <= set(samples.forgotten_classes):
        found = accuracy(model, samples, "validation", samples.forgotten_classes, scores)
        if found is None:
            found = accuracy(model, samples, "forget", scores=scores)
        return found is not None and found <= 1 / samples.num_classes
    unseen, found = (
        accuracy(model, samples, part, scores=scores) for part in ("validation", "forget")
    )
    return unseen is not None and found is not None and found <= unseen
