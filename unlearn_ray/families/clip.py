"""CLIP: images and captions are contrasted with each other across the batch.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
2021. Text tower and tokenizer are the open_clip package's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows, own_rows
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import Layers, PositiveFloat, PositiveInt, field_values, schema
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import ClassFamily, ContrastiveFamily, InfoNCE, Prompts, Scores
from unlearn_ray.families.open_clip_checkpoint import OpenCLIPCheckpoint, digest
from unlearn_ray.families.similarity import full_precision, unit_rows
from unlearn_ray.families.text_tower import Activation, TextTower, tokenise
from unlearn_ray.models.base import Model
from unlearn_ray.models.open_clip import OpenCLIP, OpenCLIPBackbone

# As in open_clip's training: bounds of the factor of the cosine.
LOG_SCALES = (0.0, math.log(100))
# CLIP's normalisation of images.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPModel(nn.Module):
    """Image and text tower, which embed into a joint space, and the scale of their cosine.

    Args:
        backbone: a `BackboneModule`; a projection is added unless it has its own.
        text: the text tower.
        embedding_size: dimension of embeddings.
        temperature: inverse of the initial scale.
    """

    def __init__(
        self, backbone: nn.Module, text: TextTower, embedding_size: int, temperature: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_projection: nn.Module = nn.Identity()
        if not isinstance(backbone, OpenCLIPBackbone):
            size = cast(int, backbone.feature_size)
            self.image_projection = nn.Linear(size, embedding_size, bias=False)
        self.text = text
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor of the cosine, with a gradient even at the bounds."""
        return self.log_scale.clamp(*LOG_SCALES).exp()

    def hold_scale(self) -> None:
        """Clamp the scale parameter to its bounds, where it still gets a gradient."""
        # The graph of an earlier call still reads this parameter; it was within bounds then.
        self.log_scale.data.clamp_(*LOG_SCALES)


@register("clip")
@schema
class CLIP(ContrastiveFamily, ClassFamily):
    """InfoNCE in both directions, the mean of both, with a learned temperature.

    - Anchors are the B images of a batch, then its B captions; each is contrasted with the B of
      the other modality. The batch is the global one, however many workers share it.
    - The learned scale, the inverse temperature, is clamped to [1, 100] before each iteration.
    - It classifies zero-shot (CLIP, section 3.1): the prediction is the class whose prompts'
      (`Dataset.prompts`) mean embedding is nearest. Metrics of probabilities use the softmax over
      classes, and no linear probe is trained.
    - A model other than `open_clip` gets a linear projection without bias.

    The defaults are the text tower of CLIP's base models and MUC's only augmentation, a flip. MUC
    (appendix A.2) trains 35 epochs on COCO with batch size 256, by "adamw" at learning rate 5e-4
    with warm-up and a cosine schedule; CLIP's weight decay is 0.2.

    Attributes:
        embedding_size: dimension of the joint embedding space.
        context_length: tokens of the longest caption, including start and end token.
        text_width, text_heads, text_layers: of the text transformer.
        activation: of its hidden layers; "quick_gelu" if open_clip's name ends in quickgelu.
        temperature: initial temperature.
        truncate: cut captions longer than the context, as open_clip does, keeping the end token.
            Otherwise they are refused before anything is trained.
        checkpoint: path of a checkpoint of the open_clip package, from whose weights pretraining
            and retraining start; the model must be `open_clip`. Keys cover the file's bytes,
            never its path. Nothing in it is unpickled.
    """

    views: ClassVar[int] = 1
    reads_captions: ClassVar[bool] = True
    tiny: ClassVar[Fields] = {
        "embedding_size": 8, "text_width": 8, "text_heads": 2, "text_layers": 2
    }  # fmt: skip
    needs_two: ClassVar[str] = "InfoNCE of a single pair is 0, whatever the weights are"

    embedding_size: PositiveInt = 512
    context_length: PositiveInt = 77
    text_width: PositiveInt = 512
    text_heads: PositiveInt = 8
    text_layers: Layers = 12
    activation: Activation = "gelu"
    temperature: PositiveFloat = 0.07
    truncate: bool = False
    checkpoint: str | None = None
    augmentation: Augmentation = Augmentation(flip=0.5, mean=MEAN, std=STD)

    def identity(self) -> dict[str, Any]:
        """The fields, with the checkpoint's content instead of its path."""
        named = {} if self.checkpoint is None else {"checkpoint": self._digest}
        return {"name": self.name, **field_values(self), **named}

    def check(self, model: Model, info: DatasetInfo) -> None:
        """Heads divide the width; fields and checkpoint fit the open_clip model's architecture."""
        if self.text_width % self.text_heads:
            raise ConfigError(
                f"clip.text_heads = {self.text_heads}",
                f"does not divide the width {self.text_width}",
                "choose a divisor of text_width",
            )
        if isinstance(model, OpenCLIP):
            self._check_architecture(model)
        if self.checkpoint is None:
            return
        if not isinstance(model, OpenCLIP):
            raise ConfigError(
                f"clip.checkpoint with model {model.name}",
                "a checkpoint of open_clip contains its own image tower",
                "set the model to {open_clip: {architecture: ...}}",
            )
        with torch.device("meta"):
            built = self.build(model.build(info.image_size), len(info.class_names))
        self._stored().check(*_towers(built))

    def tokenise(self, captions: Sequence[str]) -> Int32[Tensor, "n context"]:
        """Tokens between start and end token, padded with zeros to the context length."""
        return tokenise(captions, self.context_length, truncate=self.truncate)

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """A `CLIPModel`; text tower and projection use torch's global generator."""
        text = TextTower(
            embedding_size=self.embedding_size,
            context_length=self.context_length,
            width=self.text_width,
            heads=self.text_heads,
            layers=self.text_layers,
            activation=self.activation,
        )
        return CLIPModel(backbone, text, self.embedding_size, self.temperature)

    def start(self, model: nn.Module) -> None:
        """The checkpoint's weights, if there is one."""
        if self.checkpoint is None:
            return
        assert isinstance(model, CLIPModel)
        stored = self._stored()
        stored.check(*_towers(model))
        stored.load(*_towers(model), model.log_scale)

    def embed_images(
        self, model: nn.Module, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n embedding"]:
        """Normalised image embeddings."""
        assert isinstance(model, CLIPModel)
        embedded = model.image_projection(model.backbone(images))
        with full_precision(embedded):
            return unit_rows(embedded)

    def embed_texts(
        self, model: nn.Module, tokens: Int[Tensor, "n length"]
    ) -> Float[Tensor, "n embedding"]:
        """Normalised caption embeddings."""
        assert isinstance(model, CLIPModel)
        embedded = model.text(tokens)
        with full_precision(embedded):
            return unit_rows(embedded)

    def cosine_scale(self, model: nn.Module) -> float:
        """The inverse of the learned temperature."""
        assert isinstance(model, CLIPModel)
        return float(model.scale.detach())

    def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
        """The pieces: A = 2B anchors, C = B candidates.

        Candidate j of an image is caption j, and candidate j of a caption is image j.
        """
        assert isinstance(model, CLIPModel)
        assert batch.texts is not None
        if model.training and torch.is_grad_enabled():
            model.hold_scale()
        own = batch.texts[own_rows(batch.size)]
        images = gather_rows(self.embed_images(model, batch.view(0)), batch.size)
        texts = gather_rows(self.embed_texts(model, own), batch.size)
        with full_precision(images):
            scale = model.scale
            of_images = images @ texts.T * scale
            similarities = torch.cat([of_images, of_images.T])
            same = torch.eye(batch.size, dtype=torch.bool, device=images.device)
            return InfoNCE(
                positive=of_images.diagonal().repeat(2),
                log_sum_exp=similarities.logsumexp(dim=1),
                similarities=similarities,
                same_image=same.repeat(2, 1),
                is_forget=batch.is_forget.repeat(2),
                candidate_is_forget=batch.is_forget,
                temperature=1 / scale,
            )

    def represent(
        self, model: nn.Module, images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n embedding"]:
        """`embed_images`."""
        return self.embed_images(model, images)

    def class_logits(
        self,
        model: nn.Module,
        represented: Float[Tensor, "n embedding"],
        prompts: Prompts | None,
        generator: torch.Generator,
    ) -> Float[Tensor, "n classes"]:
        """Scaled cosines with one randomly drawn prompt per class."""
        assert isinstance(model, CLIPModel)
        assert prompts is not None
        if model.training and torch.is_grad_enabled():
            model.hold_scale()
        tokens = prompts.drawn(generator)
        own = tokens[own_rows(len(tokens))]
        texts = gather_rows(self.embed_texts(model, own), len(tokens))
        with full_precision(represented):
            return unit_rows(represented) @ texts.T * model.scale

    def class_scores(self, model: nn.Module, prompts: Prompts | None) -> Scores:
        """Cosines with the mean of each class's prompt embeddings."""
        assert prompts is not None
        classes = prompts.embedded(self, model)

        def scores(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n classes"]:
            embedded = self.embed_images(model, images)
            with full_precision(embedded):
                return embedded @ classes.T

        return scores

    def _check_architecture(self, model: OpenCLIP) -> None:
        config, _, text = model.configuration()
        wanted = {"embedding_size": config["embed_dim"]}
        if self.checkpoint is not None:
            wanted |= {
                "text_width": text.width,
                "text_heads": text.heads,
                "text_layers": text.layers,
                "activation": "quick_gelu" if config.get("quick_gelu") else "gelu",
            }
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"clip.{name} = {getattr(self, name)}",
                    f"open_clip's {model.architecture} has {value}",
                    f"set {name} to {value}",
                )

    @cached_property
    def _digest(self) -> str:
        assert self.checkpoint is not None
        return digest(self.checkpoint)

    def _stored(self) -> OpenCLIPCheckpoint:
        assert self.checkpoint is not None
        # Stored when the sweep was planned, and sent along to any machine.
        if self._digest != digest(self.checkpoint):
            raise DataError(
                f"checkpoint = {self.checkpoint}",
                "is not the file that the sweep was planned with",
                "put that file there, or start the sweep again",
            )
        return OpenCLIPCheckpoint.read(self.checkpoint, self.context_length)


def _towers(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    return model.get_submodule("backbone.tower"), model.get_submodule("text.transformer")
