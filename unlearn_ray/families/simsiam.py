"""SimSiam: a network predicts its own projection of the other view, with a stop-gradient.

Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021. Sizes are those of its
CIFAR experiment: a projector of two layers of 2,048, a predictor 2,048-512-2,048.
"""

from __future__ import annotations

from typing import ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import Layers, PositiveInt, schema
from unlearn_ray.families.base import AnchorLosses, Family
from unlearn_ray.families.heads import Head, hidden_layers
from unlearn_ray.families.similarity import crossed_cosines


class SimSiamModel(nn.Module):
    """A backbone, a projector that ends in batch norm, and a predictor with a bottleneck.

    Args:
        backbone: a `BackboneModule`.
        projection_size: width of the projector's layers and of the predictor's output.
        projection_layers: number of layers of the projector.
        bottleneck_size: width of the predictor's hidden layer.
    """

    def __init__(
        self,
        backbone: nn.Module,
        projection_size: int,
        projection_layers: int,
        bottleneck_size: int,
    ) -> None:
        super().__init__()
        size = cast(int, backbone.feature_size)
        *hidden, last = [size] + [projection_size] * projection_layers
        self.backbone = backbone
        self.projection = Head(
            *hidden_layers(*hidden),
            nn.Linear(hidden[-1], last, bias=False),
            # The authors' last batch norm has neither scale nor shift: they stay 1 and 0.
            nn.BatchNorm1d(projection_size).requires_grad_(False),
        )
        self.prediction = Head(
            *hidden_layers(projection_size, bottleneck_size),
            nn.Linear(bottleneck_size, projection_size),
        )

    def forward(
        self, images: Float[Tensor, "own 3 height width"]
    ) -> Float[Tensor, "own projection"]:
        """Projections of images."""
        return cast(Tensor, self.projection(self.backbone(images)))


@register("simsiam")
@schema
class SimSiam(Family):
    """-cos(prediction of one view, projection of the other), the mean of both directions.

    An anchor is an image: its loss is in [-1, 1]. There are no negatives. A stop-gradient on the
    projection keeps the features from collapsing. Each view is a separate forward pass, so that
    batch norm sees one view at a time.

    On CIFAR-10 the paper trains 800 epochs by SGD with momentum 0.9, weight decay 5e-4 and a
    cosine schedule, at learning rate 0.03 * batch / 256: `Recipe`'s defaults. The authors' option
    of a constant learning rate for the predictor is not implemented.

    Attributes:
        projection_size: dimension of projections and predictions.
        projection_layers: number of layers of the projector; 3 on ImageNet in the paper.
        bottleneck_size: width of the predictor's hidden layer.
    """

    views: ClassVar[int] = 2
    last_batch: ClassVar[LastBatch] = "drop"
    needs_two: ClassVar[str] = "batch norm in its heads needs more than one vector"

    projection_size: PositiveInt = 2048
    projection_layers: Layers = 2
    bottleneck_size: PositiveInt = 512

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `SimSiamModel`; the heads are initialised from torch's global generator."""
        return SimSiamModel(
            backbone, self.projection_size, self.projection_layers, self.bottleneck_size
        )

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        """The negative cosine of every image, (B,)."""
        assert isinstance(model, SimSiamModel)
        projected = [model(batch.view(view)) for view in range(2)]
        predicted = [gather_rows(model.prediction(rows), batch.size) for rows in projected]
        targets = [gather_rows(rows.detach(), batch.size) for rows in projected]
        loss = -crossed_cosines(predicted, targets) / 2
        return AnchorLosses(loss=loss, is_forget=batch.is_forget)
