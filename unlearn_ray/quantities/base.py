"""Contract of a quantity: a model's output for samples, observed once and stored.

Metrics are functions of observations, and never see a model. Quantities that are small per sample
are stored for every model, so that a metric added later costs no inference; large ones are
computed, used and dropped, and stored only for reference models and winners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema

SetName = Literal["retain", "forget", "validation", "test"]
SETS: tuple[SetName, ...] = ("retain", "forget", "validation", "test")


@dataclass(frozen=True)
class Pairs:
    """Images and their captions, embedded in a joint space.

    A caption shared by several images is stored once.

    Attributes:
        images: normalised embeddings, (N, D).
        texts: the same of distinct captions, (U, D); rows without an image are arbitrary.
        captions: row in `texts` of each caption, image by image, (C,).
        begins: offset in `captions` of each image's captions, then their number, (N + 1,).
    """

    images: Float[Tensor, "n d"]
    texts: Float[Tensor, "distinct d"]
    captions: Int[Tensor, " c"]
    begins: Int[Tensor, " n_and_end"]


@dataclass(frozen=True)
class Head:
    """The last linear layer of a classification: its logits, up to a positive factor, are
    `inputs @ weights.T + bias`.

    Attributes:
        inputs: of each sample, (N, D).
        weights: one row per class, (C, D).
        bias: zero for class prompts, (C,).
    """

    inputs: Float[Tensor, "n d"]
    weights: Float[Tensor, "classes d"]
    bias: Float[Tensor, " classes"]


class Inference(Protocol):
    """Inference with one model, for quantities; results are computed at most once and shared.

    Samples of the retain set are in the seed's permuted order, those of the test set in the
    dataset's order. All tensors are on the CPU, float32 or int64.
    """

    @property
    def model(self) -> nn.Module:
        """The model itself, on the device; it must not be changed."""
        ...

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        ...

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Ids of a set's samples, among the training images or the test images."""
        ...

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes of a set's samples."""
        ...

    def features(self, part: SetName) -> Float[Tensor, "n d"]:
        """Backbone features of test-time images, in eval mode."""
        ...

    def logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Logits of a classifier; zero-shot logits over class prompts for a model that reads
        captions; else logits of a linear probe trained on the model's retain features."""
        ...

    def view_features(self, part: SetName, views: int, limit: int) -> Float[Tensor, "m v d"]:
        """Backbone features of `views` strong augmentations of the set's first `limit`."""
        ...

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """The set's first `limit` test-time images with all of their captions, in eval mode; for
        a model that reads captions."""
        ...

    def block_features(self, part: SetName, limit: int) -> Mapping[str, Float[Tensor, "m d"]]:
        """Output of every block of the backbone, by name and in the order of depth, for the set's
        first `limit` test-time images; maps and tokens are averaged over positions, and the
        last block's are the backbone's features."""
        ...

    def head(self, part: SetName, limit: int) -> Head:
        """The last linear layer behind `logits`, with its inputs for the set's first `limit`
        samples."""
        ...

    def perturbed_logits(
        self, part: SetName, radius: int, draw: int, limit: int
    ) -> Float[Tensor, "m classes"]:
        """Logits of the set's first `limit` images plus noise, uniform on the 8-bit levels
        -radius to radius of each channel of each pixel; every `draw` is another one."""
        ...

    def random_logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Logits of a randomly initialised model of the same architecture; without a classifier or
        prompts, of a randomly initialised linear layer on its features."""
        ...

    def probe_logits(
        self,
        inputs: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        others: Float[Tensor, "m d"],
        recipe: Recipe,
    ) -> Float[Tensor, "m classes"]:
        """Logits of `others` by a linear probe that was trained on `inputs`."""
        ...

    def relearning_losses(
        self, part: SetName, recipe: Recipe, updates: int, limit: int
    ) -> Float64[Tensor, " updates_and_one"]:
        """Cross-entropy on the set's first `limit` test-time images while a copy of the model is
        fine-tuned on the whole set: before the first update, then after each."""
        ...


@dataclass(frozen=True)
class Observation:
    """A quantity's observation of one model.

    Attributes:
        samples: per set, values of its first k samples, in the set's order, (k, ...).
        arrays: values that are not per sample, by name.
    """

    samples: Mapping[SetName, Tensor] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@schema
class Quantity(Part):
    """Contract of a quantity.

    Class attributes:
        kept: whether it is stored for every model; else only for reference models, winners, and
            if the sweep's `keep` names it.
        trained: whether it uses the linear probe, if the family is not a classifier.
    """

    kind: ClassVar[str] = "quantity"
    room: ClassVar[str] = "unlearn_ray.quantities"
    kept: ClassVar[bool] = True
    trained: ClassVar[bool] = False

    def observe(self, inference: Inference) -> Observation:
        """Observe one model."""
        raise NotImplementedError
