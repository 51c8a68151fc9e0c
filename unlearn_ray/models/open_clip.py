"""open_clip's image towers, for its checkpoints.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
2021; the towers are those of the open_clip package, in the sizes that it ships.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.models.base import Model

# Towers with other fields come from other packages, or belong to models other than CLIP.
_FIELDS = {"embed_dim", "quick_gelu", "text_cfg", "vision_cfg"}
_VISION_FIELDS = {"head_width", "image_size", "layers", "mlp_ratio", "patch_size", "width"}
# The stem and the stages of open_clip's ResNet.
_RESNET_STRIDE = 32


class OpenCLIPBackbone(nn.Module):
    """An image tower that ends in its own projection: its features are embeddings.

    Args:
        tower: open_clip's.
        embedding_size: of the projection.

    Attributes:
        feature_size: dimension of the features.
    """

    def __init__(self, tower: nn.Module, embedding_size: int) -> None:
        super().__init__()
        self.feature_size = embedding_size
        self.tower = tower

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch of images."""
        return cast(Tensor, self.tower(images))


@register("open_clip")
@schema
class OpenCLIP(Model):
    """The image tower of an architecture of the open_clip package, for its checkpoints.

    Attributes:
        architecture: its name in open_clip (ViT-B-32, RN50, ViT-B-32-quickgelu ...).
    """

    synaptic_flow: ClassVar[bool] = False

    architecture: str = "ViT-B-32"

    def configuration(self) -> tuple[dict[str, Any], Any, Any]:
        """open_clip's configuration of the architecture: whole, image tower and text tower.

        Raises:
            ConfigError: the name is unknown, or its towers are not CLIP's own.
        """
        # Planning a sweep imports this module; open_clip takes seconds.
        from unlearn_ray.core.open_clip_import import open_clip

        known = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
        plain = {name: config for name, config in known.items() if _is_plain(config)}
        if self.architecture not in plain:
            raise ConfigError(
                f"open_clip.architecture = {self.architecture}",
                "its towers are not CLIP's own" if self.architecture in known else "is unknown",
                did_you_mean(self.architecture, plain),
            )
        config = plain[self.architecture]
        vision = open_clip.CLIPVisionCfg(**config["vision_cfg"])
        return config, vision, open_clip.CLIPTextCfg(**config["text_cfg"])

    def check(self, image_size: int) -> None:
        """Check that the architecture is known, and that its patches or strides tile the image.

        Raises:
            ConfigError: either is false.
        """
        _, vision, _ = self.configuration()
        step = vision.patch_size or _RESNET_STRIDE
        if image_size % step:
            raise ConfigError(
                f"open_clip.architecture = {self.architecture}",
                f"its patches of {step} pixels do not tile images of {image_size}",
                f"set the dataset's image_size to {vision.image_size}",
            )

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        self.check(image_size)
        from open_clip.modified_resnet import ModifiedResNet
        from open_clip.transformer import QuickGELU, VisionTransformer

        config, vision, _ = self.configuration()
        size = config["embed_dim"]
        if isinstance(vision.layers, list):
            tower: nn.Module = ModifiedResNet(
                layers=vision.layers,
                output_dim=size,
                heads=vision.width * 32 // vision.head_width,
                image_size=image_size,
                width=vision.width,
            )
        else:
            tower = VisionTransformer(
                image_size=image_size,
                patch_size=vision.patch_size,
                width=vision.width,
                layers=vision.layers,
                heads=vision.width // vision.head_width,
                mlp_ratio=vision.mlp_ratio,
                output_dim=size,
                act_layer=QuickGELU if config.get("quick_gelu") else nn.GELU,
            )
        return OpenCLIPBackbone(tower, size)


def _is_plain(config: dict[str, Any]) -> bool:
    return config.keys() <= _FIELDS and config["vision_cfg"].keys() <= _VISION_FIELDS
