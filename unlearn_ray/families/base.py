"""Contract of a family: a model and the criterion it is trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.core.transfer import to_device
from unlearn_ray.data.augmentation import Augmentation, contrastive_views
from unlearn_ray.data.base import Captions, DatasetInfo
from unlearn_ray.families.similarity import full_precision, unit_rows
from unlearn_ray.models.base import Model

# Prompts per forward pass of the text tower.
_AT_ONCE = 512

Scores = Callable[[Float[Tensor, "n 3 height width"]], Float[Tensor, "n classes"]]


@dataclass(frozen=True)
class AnchorLosses:
    """The criterion before its mean: one loss per anchor.

    Attributes:
        loss: (A,).
        is_forget: which anchors belong to forget images, (A,).
    """

    loss: Float[Tensor, " anchors"]
    is_forget: Bool[Tensor, " anchors"]


@dataclass(frozen=True)
class InfoNCE:
    """InfoNCE in pieces, one row per anchor; s is the cosine similarity over temperature.

    Attributes:
        positive: s of each anchor with its positive, (A,).
        log_sum_exp: log of the sum of exp(s) over everything that the anchor is contrasted with,
            including its positive, (A,).
        similarities: s of each anchor with each candidate of the same batch, (A, C).
        same_image: which candidates belong to the anchor's own image (a view, its caption), (A, C).
        is_forget: which anchors belong to forget images, (A,).
        candidate_is_forget: the same for candidates, (C,).
        temperature: divisor of the cosine; with its gradient if it is learned.
    """

    positive: Float[Tensor, " anchors"]
    log_sum_exp: Float[Tensor, " anchors"]
    similarities: Float[Tensor, "anchors candidates"]
    same_image: Bool[Tensor, "anchors candidates"]
    is_forget: Bool[Tensor, " anchors"]
    candidate_is_forget: Bool[Tensor, " candidates"]
    temperature: float | Float[Tensor, ""]

    @property
    def losses(self) -> AnchorLosses:
        """-s(positive) + log-sum-exp of every anchor (MUC, equation 1)."""
        return AnchorLosses(loss=self.log_sum_exp - self.positive, is_forget=self.is_forget)


@dataclass(frozen=True)
class Prompts:
    """Tokenised class prompts, on the device.

    Attributes:
        tokens: of all prompts, class by class, (P, L).
        counts: number of prompts of each class, at least one, (C,).
    """

    tokens: Int[Tensor, "prompts length"]
    counts: Int[Tensor, " classes"]

    @classmethod
    def load(cls, prompts: Captions, family: Family, device: torch.device) -> Prompts:
        """Tokenise the prompts of each class with the family's tokenizer.

        Raises:
            DataError: the family refuses a prompt.
        """
        tokens = family.tokenise([*chain(*prompts)]).int()
        counts = torch.tensor([len(of_class) for of_class in prompts])
        return cls(tokens.to(device), counts.to(device))

    def embedded(self, family: Family, model: nn.Module) -> Float[Tensor, "classes d"]:
        """One embedding per class: the normalised mean of its prompts' normalised embeddings.

        The class with the nearest embedding is the zero-shot prediction (Radford et al., section
        3.1.4).
        """
        blocks = torch.split(self.tokens.long(), _AT_ONCE)
        rows = torch.cat([family.embed_texts(model, block) for block in blocks])
        with full_precision(rows):
            of_classes = torch.split(rows, self.counts.tolist())
            return unit_rows(torch.stack([of_class.mean(dim=0) for of_class in of_classes]))

    def drawn(self, generator: torch.Generator) -> Int64[Tensor, "classes length"]:
        """Tokens of one prompt per class, drawn uniformly.

        Args:
            generator: on the CPU, so that every worker and device draws the same prompts.
        """
        uniform = torch.rand(len(self.counts), generator=generator, dtype=torch.float64)
        places = to_device(uniform, self.counts.device) * self.counts
        begins = self.counts.cumsum(0) - self.counts
        return self.tokens[begins + places.long()].long()


@schema
class Family(Part):
    """Contract of a family.

    Class attributes:
        views: number of augmented views per image in a batch.
        contrastive: whether its criterion is InfoNCE; see `ContrastiveFamily`.
        last_batch: what its reference code does with an epoch's last, incomplete batch; see
            `Recipe.last_batch`.
        needs_two: why a batch needs at least two images; empty if it does not.
        reads_captions: whether it learns from captions (`Batch.texts`): its dataset must have
            them, and it embeds images and captions in a joint space.

    Attributes:
        augmentation: distribution of the training views.
    """

    kind: ClassVar[str] = "family"
    room: ClassVar[str] = "unlearn_ray.families"
    views: ClassVar[int]
    contrastive: ClassVar[bool] = False
    last_batch: ClassVar[LastBatch] = "keep"
    needs_two: ClassVar[str] = ""
    reads_captions: ClassVar[bool] = False

    augmentation: Augmentation = contrastive_views()

    def check(self, model: Model, info: DatasetInfo) -> None:
        """Refuse, while planning, fields or files that no model can be built from.

        Raises:
            ConfigError: fields do not fit each other or the backbone.
            DataError: a file that the fields name is missing or unusable.
        """

    def start(self, model: nn.Module) -> None:
        """Load the weights that training starts from, if they are not randomly initialised.

        Raises:
            DataError: their file is not on this machine, or has changed.
        """

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """The model to train; its attribute `backbone` is the given one.

        Args:
            backbone: a `BackboneModule`.
            num_classes: of the dataset, for a classifier.
        """
        raise NotImplementedError

    def tokenise(self, captions: Sequence[str]) -> Int[Tensor, "n length"]:
        """Tokens of captions, on the CPU; for a family that reads captions.

        A caption's row, including its length, depends on that caption only.

        Raises:
            DataError: captions are empty or longer than the context; it gives their number and
                the first few.
        """
        raise NotImplementedError

    def embed_images(
        self, model: nn.Module, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n embedding"]:
        """Normalised embeddings of images in the joint space; for a family that reads captions."""
        raise NotImplementedError

    def embed_texts(
        self, model: nn.Module, tokens: Int[Tensor, "n length"]
    ) -> Float[Tensor, "n embedding"]:
        """Normalised embeddings of captions, from `tokenise`, in the same space."""
        raise NotImplementedError

    def cosine_scale(self, model: nn.Module) -> float:
        """The criterion's factor of the cosine of image and caption (inverse temperature)."""
        raise NotImplementedError

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        """The criterion of every anchor of a batch, with gradients.

        The model sees `batch.view(...)`, this worker's rows; its outputs go through `gather_rows`,
        and everything after that concerns the whole batch.
        """
        raise NotImplementedError

    def criterion(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The training loss of this family: the mean over anchors."""
        return self.anchor_losses(model, batch).loss.mean()


@schema
class ContrastiveFamily(Family):
    """A family whose criterion is InfoNCE, exposed in pieces."""

    contrastive: ClassVar[bool] = True
    last_batch: ClassVar[LastBatch] = "drop"

    def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
        """The pieces of InfoNCE of a batch, with gradients.

        In training mode this may also update state other than the weights (a momentum encoder, a
        queue): call it once per iteration.
        """
        raise NotImplementedError

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        """InfoNCE of every anchor."""
        return self.info_nce(model, batch).losses


@schema
class ClassFamily(Family):
    """A family whose models classify an image by one representation of it."""

    views: ClassVar[int] = 1

    def represent(
        self, model: nn.Module, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n d"]:
        """Representations of images, one row each; normalised, they serve as embeddings."""
        raise NotImplementedError

    def class_logits(
        self,
        model: nn.Module,
        represented: Float[Tensor, "n d"],
        prompts: Prompts | None,
        generator: torch.Generator,
    ) -> Float[Tensor, "n classes"]:
        """Logits of representations from `represent`, with gradients.

        Args:
            model: of the family.
            represented: the same on every worker.
            prompts: of all classes, for a family that reads captions.
            generator: draws one prompt per class (`Batch.generator`).
        """
        raise NotImplementedError

    def class_scores(self, model: nn.Module, prompts: Prompts | None) -> Scores:
        """A function that scores the classes of images; the prediction has the largest score.

        Args:
            model: in its current state: all prompts are embedded right away.
            prompts: of all classes, for a family that reads captions.
        """
        raise NotImplementedError


@schema
class ClassifierFamily(ClassFamily):
    """A family whose model is itself a classifier; `model(images)` are its logits.

    Its representation is the input of the last layer.
    """

    def classify(
        self, model: nn.Module, represented: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n classes"]:
        """Logits of representations from `represent`."""
        raise NotImplementedError

    def classifier(self, model: nn.Module) -> nn.Linear:
        """The last layer: one row of weights per class."""
        raise NotImplementedError

    def class_logits(
        self,
        model: nn.Module,
        represented: Float[Tensor, "n d"],
        prompts: Prompts | None,
        generator: torch.Generator,
    ) -> Float[Tensor, "n classes"]:
        """`classify`."""
        return self.classify(model, represented)

    def class_scores(self, model: nn.Module, prompts: Prompts | None) -> Scores:
        """Logits."""
        return model

    def batch_logits(self, model: nn.Module, batch: Batch) -> Float[Tensor, "batch classes"]:
        """Logits of a whole batch, with gradients; each worker computes its own rows."""
        return gather_rows(model(batch.view(0)), batch.size)
