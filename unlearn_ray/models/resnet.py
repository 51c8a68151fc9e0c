"""ResNet-18, -34, -50 and -101: torchvision's blocks, behind a CIFAR stem for small images.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. At width 64 the parameters
are torchvision's except for the CIFAR stem (3x3 instead of 7x7) and the missing classifier: MUC's
backbones.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.models.base import Model
from unlearn_ray.models.residual import ResidualBackbone

# From this image size on, the stem halves the resolution twice, as for ImageNet.
POOLED_FROM = 84


@schema
class ResNet(Model):
    """Base class of the four depths.

    Attributes:
        width: channels of the first stage; features have 8 * width entries (basic blocks) or
            32 * width (bottlenecks).
        stem: "cifar" is a 3x3 convolution of stride 1; "imagenet" a 7x7 convolution and pooling,
            each of stride 2; "auto" is the latter from 84 pixels on.
    """

    block: ClassVar[Literal["BasicBlock", "Bottleneck"]]
    depths: ClassVar[tuple[int, ...]]
    tiny: ClassVar[Fields] = {"width": 4}

    width: PositiveInt = 64
    stem: Literal["auto", "cifar", "imagenet"] = "auto"

    def pooled(self, image_size: int) -> bool:
        """Whether images of this size enter through the ImageNet stem."""
        return self.stem == "imagenet" or (self.stem == "auto" and image_size >= POOLED_FROM)

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        # Planning a sweep imports this module; torchvision takes seconds.
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.models import resnet

        block, pooled = getattr(resnet, self.block), self.pooled(image_size)
        return ResidualBackbone(block, block.expansion, self.depths, self.width, pooled=pooled)


@register("resnet18")
@schema
class ResNet18(ResNet):
    """ResNet-18 with the CIFAR stem: 11.2 million parameters, 512 features at width 64."""

    block: ClassVar[Literal["BasicBlock", "Bottleneck"]] = "BasicBlock"
    depths: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


@register("resnet34")
@schema
class ResNet34(ResNet):
    """ResNet-34 with the CIFAR stem: 21.3 million parameters, 512 features at width 64."""

    block: ClassVar[Literal["BasicBlock", "Bottleneck"]] = "BasicBlock"
    depths: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


@register("resnet50")
@schema
class ResNet50(ResNet):
    """ResNet-50 with the CIFAR stem: 23.5 million parameters, 2,048 features at width 64."""

    block: ClassVar[Literal["BasicBlock", "Bottleneck"]] = "Bottleneck"
    depths: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


@register("resnet101")
@schema
class ResNet101(ResNet):
    """ResNet-101 with the CIFAR stem: 42.5 million parameters, 2,048 features at width 64."""

    block: ClassVar[Literal["BasicBlock", "Bottleneck"]] = "Bottleneck"
    depths: ClassVar[tuple[int, ...]] = (3, 4, 23, 3)
