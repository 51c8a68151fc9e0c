"""Supervised classification: a backbone, a classifier, and cross-entropy.

With an embedding head it is the model of "Contrastive Unlearning" (2401.10458; its official code):
features pass a head d-d-e and are L2-normalised, and the classifier takes these embeddings.
"""

from __future__ import annotations

from typing import ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.families.base import AnchorLosses, ClassifierFamily
from unlearn_ray.families.similarity import full_precision, precise, unit_rows


class SupervisedModel(nn.Module):
    """A backbone, optionally an embedding head, and a linear classifier.

    Args:
        backbone: a `BackboneModule`.
        embedding_size: dimension of the embedding; None leaves the head out.
        num_classes: of the classifier.
    """

    def __init__(self, backbone: nn.Module, embedding_size: int | None, num_classes: int) -> None:
        super().__init__()
        size = cast(int, backbone.feature_size)
        self.backbone = backbone
        self.embedding: nn.Module | None = None
        if embedding_size is not None:
            self.embedding = nn.Sequential(
                nn.Linear(size, size), nn.ReLU(inplace=True), nn.Linear(size, embedding_size)
            )
        self.classifier = nn.Linear(embedding_size or size, num_classes)

    def represent(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n d"]:
        """The classifier's input before the head's last ReLU; normalised if there is a head."""
        features: Tensor = self.backbone(images)
        if self.embedding is None:
            return features
        return unit_rows(self.embedding(features))

    def classify(self, represented: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Logits of representations from `represent`."""
        inputs = represented if self.embedding is None else functional.relu(represented)
        return cast(Tensor, self.classifier(inputs))

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n classes"]:
        """Logits of a batch of images."""
        return self.classify(self.represent(images))


@register("supervised")
@schema
class Supervised(ClassifierFamily):
    """Cross-entropy; the mean over a batch's images.

    Attributes:
        embedding_size: dimension of the normalised embedding that the classifier takes (the
            paper: 128 at 32 pixels, 256 or 512 for Mini-ImageNet); null lets it take the
            backbone's features, which then also serve, normalised, as embeddings.
    """

    revision: ClassVar[int] = 2
    tiny: ClassVar[Fields] = {"embedding_size": 8}

    embedding_size: PositiveInt | None = None
    augmentation: Augmentation = Augmentation()

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `SupervisedModel`; its layers are initialised from torch's global generator."""
        return SupervisedModel(backbone, self.embedding_size, num_classes)

    def represent(
        self, model: nn.Module, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n d"]:
        """The normalised embedding; without a head, the backbone's features."""
        return cast(SupervisedModel, model).represent(images)

    def classify(
        self, model: nn.Module, represented: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n classes"]:
        """Logits."""
        return cast(SupervisedModel, model).classify(represented)

    def classifier(self, model: nn.Module) -> nn.Linear:
        """The model's last layer."""
        return cast(SupervisedModel, model).classifier

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        """Cross-entropy of every image."""
        logits = self.batch_logits(model, batch)
        with full_precision(logits):
            loss = functional.cross_entropy(precise(logits), batch.labels, reduction="none")
        return AnchorLosses(loss=loss, is_forget=batch.is_forget)
