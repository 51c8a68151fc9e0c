"""Contract of a quantity: something that a model says of samples, observed once and stored.

Metrics are functions of observations, and never meet a model. What is small for every sample is
kept for every model, so that a metric that is added later costs no inference; what is large is
computed, used and dropped, and kept for reference models and winners alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema

SetName = Literal["retain", "forget", "validation", "test"]
SETS: tuple[SetName, ...] = ("retain", "forget", "validation", "test")


@dataclass(frozen=True)
class Pairs:
    """Images and their captions, embedded in one space.

    A caption that several images have is there once.

    Attributes:
        images: rows of length 1, (N, D).
        texts: the same of distinct captions, (U, D); those that no image has may hold anything.
        captions: rows of `texts`, one for each caption, image by image, (C,).
        begins: where each image's captions begin in `captions`, and at last their number, (N + 1,).
    """

    images: Float[Tensor, "n d"]
    texts: Float[Tensor, "distinct d"]
    captions: Int[Tensor, " c"]
    begins: Int[Tensor, " n_and_end"]


class Inference(Protocol):
    """One model at work, as a quantity sees it; everything is computed at most once and shared.

    Samples of the retain set stand in the seed's permuted order, of the test set in the
    dataset's order. All tensors are on the CPU, float32 or int64.
    """

    @property
    def model(self) -> nn.Module:
        """The model itself, on the device; to be left as it is."""
        ...

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        ...

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Of a set's samples in the dataset: among the training images, or the test images."""
        ...

    def features(self, part: SetName) -> Float[Tensor, "n d"]:
        """Backbone features of test-time images, in eval mode."""
        ...

    def logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Of a classifier; zero-shot, over the classes' prompts, of a model that reads captions;
        else of the linear probe trained on a model's retain features."""
        ...

    def view_features(self, part: SetName, views: int, limit: int) -> Float[Tensor, "m v d"]:
        """Backbone features of `views` strong augmentations of the set's first `limit`."""
        ...

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """The set's first `limit` test-time images with all of their captions, in eval mode, of
        a model that reads captions."""
        ...


@dataclass(frozen=True)
class Observation:
    """What was observed of one model.

    Attributes:
        samples: by set, of its first k samples, in the set's order, each (k, ...).
        arrays: what is not of one sample each, by name.
    """

    samples: Mapping[SetName, Tensor] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@schema
class Quantity(Part):
    """Contract of a quantity.

    Class attributes:
        kept: whether it is stored for every model; else for reference models, winners, and
            where the sweep's `keep` names it.
        trained: whether the probe has a part in it, where the family is no classifier.
    """

    kind: ClassVar[str] = "quantity"
    room: ClassVar[str] = "unlearn_ray.quantities"
    kept: ClassVar[bool] = True
    trained: ClassVar[bool] = False

    def observe(self, inference: Inference) -> Observation:
        """Observe one model."""
        raise NotImplementedError
