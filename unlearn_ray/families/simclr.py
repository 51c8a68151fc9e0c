"""SimCLR: two views of an image are contrasted with all other views of the batch.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
Defaults are those of MUC's code: a head d-d-128 with batch norm after both linear layers,
temperature 0.5, plain batch norm.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveFloat, PositiveInt, schema
from unlearn_ray.families.base import ContrastiveFamily, InfoNCE
from unlearn_ray.families.heads import Head
from unlearn_ray.families.similarity import full_precision, unit_rows


class SimCLRModel(nn.Module):
    """A backbone and a projection head.

    Args:
        backbone: a `BackboneModule`.
        projection_size: dimension of the head's output.
    """

    def __init__(self, backbone: nn.Module, projection_size: int) -> None:
        super().__init__()
        size = cast(int, backbone.feature_size)
        self.backbone = backbone
        # Batch norm's shift replaces the biases.
        self.projection = Head(
            nn.Linear(size, size, bias=False),
            nn.BatchNorm1d(size),
            nn.ReLU(inplace=True),
            nn.Linear(size, projection_size, bias=False),
            nn.BatchNorm1d(projection_size),
        )

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch projection"]:
        """Unnormalised projections of a batch of images."""
        return cast(Tensor, self.projection(self.backbone(images)))


@register("simclr")
@schema
class SimCLR(ContrastiveFamily):
    """NT-Xent over the 2B views of a batch of B images (equation 1 of the SimCLR paper).

    Anchors are the first views, then the second views; candidates are the same 2B. An anchor
    is not contrasted with itself; its positive is the other view of its image and is part of
    the sum.

    Attributes:
        temperature: divisor of the cosine similarity.
        projection_size: dimension of the contrasted vectors.
    """

    views: ClassVar[int] = 2
    needs_two: ClassVar[str] = "batch norm in its head needs more than one vector"

    temperature: PositiveFloat = 0.5
    projection_size: PositiveInt = 128

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `SimCLRModel`; the head is initialised from torch's global generator."""
        return SimCLRModel(backbone, self.projection_size)

    def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
        """The pieces of NT-Xent: A = C = 2B.

        Each view is a separate forward pass, so that batch norm sees one view at a time, as in
        MUC's code.
        """
        first, second = (gather_rows(model(batch.view(view)), batch.size) for view in range(2))
        with full_precision(first):
            first, second = unit_rows(first), unit_rows(second)
            anchors = torch.cat([first, second])
            similarities = anchors @ anchors.T / self.temperature
            itself = torch.eye(2 * batch.size, dtype=torch.bool, device=anchors.device)
            positive = (first * second).sum(dim=1) / self.temperature
            is_forget = batch.is_forget.repeat(2)
            return InfoNCE(
                positive=positive.repeat(2),
                log_sum_exp=similarities.masked_fill(itself, -torch.inf).logsumexp(dim=1),
                similarities=similarities,
                same_image=itself | itself.roll(batch.size, dims=0),
                is_forget=is_forget,
                candidate_is_forget=is_forget,
                temperature=self.temperature,
            )
