"""ResNet-8: three basic blocks, for a machine without a GPU.

The family of He et al., CVPR 2016, section 4.2 (6n + 2 layers, n = 1), with the projection
shortcuts of torchvision's blocks.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.models.base import Model
from unlearn_ray.models.residual import ResidualBackbone


@register("resnet8")
@schema
class ResNet8(Model):
    """ResNet-8 with the CIFAR stem: 77 thousand parameters, 64 features at width 16.

    Attributes:
        width: channels of the first stage; features have 4 * width entries.
    """

    tiny: ClassVar[Fields] = {"width": 4}

    width: PositiveInt = 16

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        # Planning a sweep imports this module; torchvision takes seconds.
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.models.resnet import BasicBlock

        return ResidualBackbone(
            BasicBlock, BasicBlock.expansion, (1, 1, 1), self.width, pooled=False
        )
