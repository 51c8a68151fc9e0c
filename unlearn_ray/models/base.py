"""Contract of a backbone: images to features."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema


class BackboneModule(Protocol):
    """What `Model.build` returns: a module with the length of its features."""

    feature_size: int

    def __call__(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch of images."""
        ...


@schema
class Model(Part):
    """Contract of a model: the architecture of a backbone.

    Class attributes:
        synaptic_flow: whether a weight's share in the features is the sum of the strengths of all
            paths through it, as in a network of ReLUs, sums and batch norm.
    """

    kind: ClassVar[str] = "model"
    room: ClassVar[str] = "unlearn_ray.models"
    synaptic_flow: ClassVar[bool] = True

    def check(self, image_size: int) -> None:
        """Refuse, while planning, images that this model cannot see.

        Raises:
            ConfigError: their size does not fit.
        """

    def build(self, image_size: int) -> nn.Module:
        """A freshly initialised `BackboneModule`, drawn from torch's global generator.

        Args:
            image_size: height and width of the dataset's images.
        """
        raise NotImplementedError
