"""Contract of a backbone: images to features."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema


class BackboneModule(Protocol):
    """The result of `Model.build`: a module with the dimension of its features."""

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
        synaptic_flow: whether SynFlow's score is valid, the sum over all paths through a weight of
            their strengths, as in a network of ReLUs, sums and batch norm.
    """

    kind: ClassVar[str] = "model"
    room: ClassVar[str] = "unlearn_ray.models"
    synaptic_flow: ClassVar[bool] = True

    def check(self, image_size: int) -> None:
        """Refuse, while planning, images of a size that does not fit the architecture.

        Raises:
            ConfigError: the size does not fit.
        """

    def build(self, image_size: int) -> nn.Module:
        """A `BackboneModule`, initialised from torch's global generator.

        Args:
            image_size: height and width of the dataset's images.
        """
        raise NotImplementedError
