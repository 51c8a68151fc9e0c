"""BYOL: an online network predicts its momentum copy's projection of the other view.

Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS
2020. Sizes and momentum are solo-learn's for CIFAR: heads 4,096-256, momentum from 0.99 to 1.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, UnitInterval, schema
from unlearn_ray.families.base import AnchorLosses, Family
from unlearn_ray.families.heads import Head, hidden_layers
from unlearn_ray.families.momentum import follow, slow_copy
from unlearn_ray.families.similarity import crossed_cosines


class BYOLModel(nn.Module):
    """The online network (with a predictor) and the target network (without).

    Args:
        backbone: a `BackboneModule`.
        hidden_size: width of the hidden layer of projector and predictor.
        projection_size: dimension of their outputs.
    """

    def __init__(self, backbone: nn.Module, hidden_size: int, projection_size: int) -> None:
        super().__init__()
        size = cast(int, backbone.feature_size)
        self.backbone = backbone
        self.projection = Head(
            *hidden_layers(size, hidden_size), nn.Linear(hidden_size, projection_size)
        )
        self.prediction = Head(
            *hidden_layers(projection_size, hidden_size), nn.Linear(hidden_size, projection_size)
        )
        self.target_backbone = slow_copy(self.backbone)
        self.target_projection = slow_copy(self.projection)

    def predict(
        self, images: Float[Tensor, "own 3 height width"]
    ) -> Float[Tensor, "own projection"]:
        """The online network's predictions of the target's projections of the other view."""
        return cast(Tensor, self.prediction(self.projection(self.backbone(images))))

    @torch.no_grad()
    def target(
        self, images: Float[Tensor, "own 3 height width"]
    ) -> Float[Tensor, "own projection"]:
        """The target network's projections of images, without gradients."""
        return cast(Tensor, self.target_projection(self.target_backbone(images)))

    def follow(self, momentum: float | Float[Tensor, ""]) -> None:
        """Update the target: target = momentum * target + (1 - momentum) * online."""
        follow(self.target_backbone, self.backbone, momentum)
        follow(self.target_projection, self.projection, momentum)


@register("byol")
@schema
class BYOL(Family):
    """2 - 2 cos(prediction of one view, target of the other), summed over both directions.

    An anchor is an image: its loss is in [0, 8]. There are no negatives. In training mode both
    networks use batch statistics, one view at a time.

    In training with gradients every call first updates the target, with the paper's momentum
    1 - (1 - momentum) * (1 + cos(pi * progress)) / 2, where progress is the share of the run's
    iterations done (`Batch.progress`). The paper updates it after each optimizer step, which
    differs only at both ends: before pretraining's first step the networks are equal, and the
    last step is followed up in the next run's first iteration. Each unlearning run starts again
    at `momentum`. In eval mode or under `torch.no_grad()` the target does not change.

    The paper trains with LARS, 10 epochs of warm-up and a cosine schedule; solo-learn on CIFAR
    1,000 epochs, with batch size 256, learning rate 1.0 and weight decay 1e-5.

    Attributes:
        hidden_size: width of the hidden layer of projector and predictor.
        projection_size: dimension of projections and predictions.
        momentum: of the target at the first iteration; it rises to 1 at the last.
    """

    views: ClassVar[int] = 2
    last_batch: ClassVar[LastBatch] = "drop"
    needs_two: ClassVar[str] = "batch norm in its heads needs more than one vector"

    hidden_size: PositiveInt = 4096
    projection_size: PositiveInt = 256
    momentum: UnitInterval = 0.99

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `BYOLModel`; the heads are initialised from torch's global generator."""
        return BYOLModel(backbone, self.hidden_size, self.projection_size)

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        """The regression loss of every image, (B,)."""
        assert isinstance(model, BYOLModel)
        if model.training and torch.is_grad_enabled():
            model.follow(batch.scheduled(self.momentum_at))
        views = [batch.view(view) for view in range(2)]
        predicted = [gather_rows(model.predict(view), batch.size) for view in views]
        targets = [gather_rows(model.target(view), batch.size) for view in views]
        loss = 4 - 2 * crossed_cosines(predicted, targets)
        return AnchorLosses(loss=loss, is_forget=batch.is_forget)

    def momentum_at(self, progress: float) -> float:
        """Momentum of the target once this share of the iterations is done."""
        return 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
