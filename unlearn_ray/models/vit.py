"""ViT: torchvision's vision transformer in any size, for images of any size.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
"""

from __future__ import annotations

from typing import ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import Layers, PositiveInt, UnitInterval, schema
from unlearn_ray.models.base import Model


class TransformerBackbone(nn.Module):
    """A vision transformer without a classifier; its features are the class token's output.

    Args:
        transformer: torchvision's `VisionTransformer`.

    Attributes:
        feature_size: dimension of the features.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.feature_size = cast(int, transformer.hidden_dim)
        transformer.heads = nn.Identity()
        self.transformer = transformer

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch of images."""
        return cast(Tensor, self.transformer(images))


@register("vit")
@schema
class ViT(Model):
    """ViT-B/32, CLIP's smallest: 87 million parameters and 768 features at the defaults.

    Attributes:
        patch: side of a patch in pixels; it divides the image size.
        layers, heads, width: of the transformer; features have `width` entries.
        dropout: probability in its hidden layers.
    """

    synaptic_flow: ClassVar[bool] = False
    tiny: ClassVar[Fields] = {"patch": 4, "layers": 1, "heads": 2, "width": 8}

    patch: PositiveInt = 32
    layers: Layers = 12
    heads: PositiveInt = 12
    width: PositiveInt = 768
    dropout: UnitInterval = 0.0

    def check(self, image_size: int) -> None:
        """Check that patches tile the image, and that the heads divide the width.

        Raises:
            ConfigError: either is false.
        """
        if image_size % self.patch:
            raise ConfigError(
                f"{self.name}.patch = {self.patch}",
                f"patches do not tile images of {image_size} pixels",
                "choose a divisor of the image size",
            )
        if self.width % self.heads:
            raise ConfigError(
                f"{self.name}.heads = {self.heads}",
                f"does not divide the width {self.width}",
                "choose a divisor of the width",
            )

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        # Planning a sweep imports this module; torchvision takes seconds.
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.models import VisionTransformer

        self.check(image_size)
        transformer = VisionTransformer(
            image_size=image_size,
            patch_size=self.patch,
            num_layers=self.layers,
            num_heads=self.heads,
            hidden_dim=self.width,
            mlp_dim=4 * self.width,
            dropout=self.dropout,
        )
        return TransformerBackbone(transformer)
