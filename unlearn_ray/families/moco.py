"""MoCo: queries are contrasted with their key, from a momentum encoder, and a queue of old keys.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020.
Defaults are those of MUC's code: a linear head to 128, a queue of 4,096, momentum 0.99,
temperature 0.1, split batch norm with 8 groups, one direction (query to key).
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveFloat, PositiveInt, UnitInterval, schema
from unlearn_ray.families.base import ContrastiveFamily, InfoNCE
from unlearn_ray.families.momentum import enqueue, follow, slow_copy
from unlearn_ray.families.similarity import full_precision, unit_rows
from unlearn_ray.families.split_batch_norm import split_batch_norm


class MoCoModel(nn.Module):
    """The query encoder, the momentum encoder and the queue of keys, all in the state dict.

    Args:
        backbone: a `BackboneModule`; its batch norm layers are replaced by split ones.
        projection_size: dimension of queries and keys.
        queue_size: number of old keys.
        batch_norm_groups: groups of the split batch norm.
    """

    queue: Float[Tensor, "queue projection"]
    queue_pointer: Tensor

    def __init__(
        self, backbone: nn.Module, projection_size: int, queue_size: int, batch_norm_groups: int
    ) -> None:
        super().__init__()
        split_batch_norm(backbone, batch_norm_groups)
        self.backbone = backbone
        self.projection = nn.Linear(cast(int, backbone.feature_size), projection_size)
        self.key_backbone = slow_copy(self.backbone)
        self.key_projection = slow_copy(self.projection)
        self.register_buffer("queue", unit_rows(torch.randn(queue_size, projection_size)))
        self.register_buffer("queue_pointer", torch.zeros((), dtype=torch.int64))

    def queries(self, batch: Batch) -> Float[Tensor, "batch projection"]:
        """Normalised projections of the first views, with gradients."""
        projected = gather_rows(self.projection(self.backbone(batch.view(0))), batch.size)
        with full_precision(projected):
            return unit_rows(projected)

    @torch.no_grad()
    def keys(self, batch: Batch) -> Float[Tensor, "batch projection"]:
        """Normalised projections of the second views, in batch order, without gradients.

        The images pass the key encoder in a shuffled order, drawn from the batch's generator, so
        that a key's group in the split batch norm is not its query's.
        """
        order = batch.drawn(lambda generator: torch.randperm(batch.size, generator=generator))
        projected = self.key_projection(self.key_backbone(batch.view(1, order)))
        projected = gather_rows(projected, batch.size)
        with full_precision(projected):
            keys = unit_rows(projected)
        return torch.empty_like(keys).index_copy_(0, order, keys)

    def follow(self, momentum: float) -> None:
        """Update the momentum encoder: key = momentum * key + (1 - momentum) * query."""
        follow(self.key_backbone, self.backbone, momentum)
        follow(self.key_projection, self.projection, momentum)


@register("moco")
@schema
class MoCo(ContrastiveFamily):
    """InfoNCE of B queries, each against its own key and the queue (equation 1 of the paper).

    Anchors are queries of the first views, candidates the keys of the second views of the same
    batch (for pairs of different images); the log-sum-exp is over the query's own key and the
    queue as it was before this batch.

    Attributes:
        temperature: divisor of the cosine similarity.
        projection_size: dimension of the contrasted vectors.
        queue_size: number of old keys that a query is contrasted with.
        momentum: of the key encoder's update at each iteration.
        batch_norm_groups: groups of a batch with separate statistics.
    """

    views: ClassVar[int] = 2

    temperature: PositiveFloat = 0.1
    projection_size: PositiveInt = 128
    queue_size: PositiveInt = 4096
    momentum: UnitInterval = 0.99
    batch_norm_groups: PositiveInt = 8

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `MoCoModel`; head and queue are initialised from torch's global generator."""
        return MoCoModel(backbone, self.projection_size, self.queue_size, self.batch_norm_groups)

    def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
        """The pieces of InfoNCE: A = C = B.

        In training with gradients every call updates the key encoder (before computing the keys)
        and the queue (after using it). In eval mode or under `torch.no_grad()` neither changes.
        """
        assert isinstance(model, MoCoModel)
        advance = model.training and torch.is_grad_enabled()
        if advance:
            model.follow(self.momentum)
        queries = model.queries(batch)
        keys = model.keys(batch)
        with full_precision(queries):
            similarities = queries @ keys.T / self.temperature
            positive = similarities.diagonal()
            # A copy, since backward reads the queue as it is now and enqueueing writes in place.
            negatives = queries @ model.queue.clone().T / self.temperature
            log_sum_exp = torch.logaddexp(positive, negatives.logsumexp(dim=1))
        if advance:
            enqueue(model.queue_pointer, (model.queue, keys))
        return InfoNCE(
            positive=positive,
            log_sum_exp=log_sum_exp,
            similarities=similarities,
            same_image=torch.eye(batch.size, dtype=torch.bool, device=queries.device),
            is_forget=batch.is_forget,
            candidate_is_forget=batch.is_forget,
            temperature=self.temperature,
        )
